"""Runs the programs of cases.py on pollring's event loop: with the real aiohttp, uvicorn, redis, asyncpg and websockets,
from an environment of their own, and real servers on loopback, started here and ended here.

    run.py [--loop pollring|asyncio] [--python PYTHON] [CASE...]
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import cases

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECONDS = 90  # a case


def prepare(python):
    """The environment: made once, the project installed anew each time. Returns its Python."""
    version = subprocess.run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], check=True,
                             stdout=subprocess.PIPE, text=True).stdout.strip()
    folder = ROOT / "build" / f"ecosystem-{version}"
    if not (folder / "bin/python").exists():
        print(f"making {folder}", flush=True)
        subprocess.run([python, "-m", "venv", folder], check=True)
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)
    subprocess.run([*pip, "--no-deps", "--force-reinstall", ROOT], check=True)
    return folder / "bin/python"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for_port(port, process):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise RuntimeError(f"{process.args[0]} did not come up")


@contextmanager
def started(command, port, **options):
    """A server, ended by its process id."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        wait_for_port(port, process)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def redis():
    program = shutil.which("redis-server")
    if not program:
        raise FileNotFoundError("redis-server is not installed: apt-get install redis-server")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, started(
            [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder], port):
        yield {"REDIS_PORT": str(port)}


@contextmanager
def postgresql():
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        raise FileNotFoundError("postgresql is not installed: apt-get install postgresql")
    bin = programs[-1].parent
    port = free_port()
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory() as folder:
        if user:  # it refuses to run as root
            shutil.chown(folder, "postgres", "postgres")
        subprocess.run([bin / "initdb", "-A", "trust", "-U", "postgres", "-D", f"{folder}/data"], check=True,
                       stdout=subprocess.DEVNULL, cwd=folder, **user)
        with started([bin / "postgres", "-D", f"{folder}/data", "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"],
                     port, cwd=folder, **user):
            yield {"PG_PORT": str(port)}


SERVERS = {"redis": redis, "asyncpg": postgresql}


def run_case(python, name, loop):
    """None, or what went wrong."""
    with ExitStack() as stack:
        environment = dict(os.environ)
        try:
            if (server := SERVERS.get(name.split("_")[0])):
                environment.update(stack.enter_context(server()))
        except FileNotFoundError as error:
            return f"skipped: {error}"
        try:
            result = subprocess.run([python, "-W", "error::ResourceWarning", HERE / "cases.py", name, loop],
                                    timeout=SECONDS, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                    text=True)
        except subprocess.TimeoutExpired:
            return f"killed after {SECONDS} seconds"
        return result.stdout or f"exit status {result.returncode}" if result.returncode else None


def main():
    names = [*cases.CASES, "ctrl_c"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop", default="pollring", choices=["pollring", "asyncio"])
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(names))
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(names):
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(names)}")
    python = prepare(arguments.python)
    failed = skipped = 0
    for name in arguments.cases or names:
        started_at = time.monotonic()
        wrong = run_case(python, name, arguments.loop)
        skip = bool(wrong and wrong.startswith("skipped"))
        skipped += skip
        failed += bool(wrong) and not skip
        outcome = wrong if skip else "failed" if wrong else "passed"
        print(f"{name}: {outcome} ({time.monotonic() - started_at:.1f} s)", flush=True)
        if wrong and not skip:
            print(wrong, flush=True)
    total = len(arguments.cases or names)
    print(f"{total - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
