"""An apt of our own, which fetches Debian's packages: without root, and with no part in this machine's. It knows nothing
of what is fetched."""

import subprocess
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
CONFIGURATION = """
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "amd64";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "15";
Dir::State "{0}/state";
Dir::State::status "{0}/status";
Dir::Cache "{0}/cache";
Dir::Etc::SourceList "{0}/sources.list";
Dir::Etc::SourceParts "{0}/none";
Dir::Etc::PreferencesParts "{0}/none";
"""


class Unavailable(Exception):
    """Why something can't be had here."""


class Apt:
    """folder: where its lists and packages are kept. sources: what they are of, as ("deb", "debian", "bookworm")."""

    def __init__(self, folder, sources):
        if not KEYRING.exists():
            raise Unavailable(f"{KEYRING} is missing: install debian-archive-keyring")
        self.configuration = folder / "apt.conf"
        for directory in ("state/lists/partial", "cache/archives/partial", "none"):
            (folder / directory).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        self.configuration.write_text(CONFIGURATION.format(folder))
        (folder / "sources.list").write_text("".join(
            f"{kind} [signed-by={KEYRING}] http://deb.debian.org/{archive} {suite} main\n"
            for kind, archive, suite in sources))

    def run(self, program, *arguments, seconds, cwd=None):
        """What one of apt's programs writes; Unavailable where it fails, or takes longer."""
        try:
            return subprocess.run([program, "-q", "-c", self.configuration, *arguments], cwd=cwd, timeout=seconds,
                                  check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True).stdout
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{program} {arguments[0]} took more than {seconds:.0f} seconds")
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
            raise Unavailable(f"{program} {arguments[0]}: {lines[0]}")
        except OSError as error:
            raise Unavailable(str(error))

    def update(self, seconds):
        """Fetches the lists, all of them."""
        self.run("apt-get", "update", "-o", "APT::Update::Error-Mode=any", seconds=seconds)
