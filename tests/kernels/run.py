#!/usr/bin/env python3
"""Runs the tests on other kernels: Debian's, in qemu. Needs no privileges.

    tests/kernels/run.py     # the programs are built already; `make test-kernels` builds them

KERNELS  versions, or beginnings of them, of which the newest is taken; "running" is this machine's own, without qemu
QUICK    1: the C tests only, on fewer kinds of rings, with fewer rounds, and without the kernel's rules
LIMIT    the seconds that all may take: 170 with QUICK, else 1170
SUITES   of tests/run.py: c, python, lua
JOBS     how many machines run at a time: one for each processor
CACHE    where kernels and package lists are kept: ~/.cache/pollring
TEST_FILTER, TEST_VARIANTS, TEST_ROUNDS, TEST_PATIENCE   for the tests in the machines

A kernel that can't be had, because there is no network or no qemu, is skipped with the reason; so are the tests that
the time is too short for: an emulated machine is slow, and says nothing of this tree by that. A machine that crashes,
or is idle while a test doesn't end, has failed. In the machine tests/run.py runs as it does here, from an initramfs of
this tree and of the Debian packages that it needs. What comes out of the serial lines stays in build/kernels/:
VERSION.json has the results, a line of JSON for each, VERSION.log what the tests write, VERSION.rules what `pollring
rules --json` does (not with QUICK), VERSION.console the kernel's own messages.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "tests"))
from private_apt import Apt, Unavailable  # noqa: E402

BUILD = ROOT / "build"
OUTPUT = BUILD / "kernels"
INITRAMFS = OUTPUT / f"initramfs-{os.getpid()}"  # others may run too
CACHE = Path(os.environ.get("CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pollring")
QUICK = os.environ.get("QUICK", "") not in ("", "0")
KERNELS = (os.environ.get("KERNELS") or "5.10 6.1 6.12 7").split()
RULES = BUILD / "lab/pollring-rules"
SUITES = os.environ.get("SUITES", "c" if QUICK else "c python lua").split()
JOBS = int(os.environ.get("JOBS") or os.cpu_count() or 1)
DEADLINE = time.monotonic() + float(os.environ.get("LIMIT") or (170 if QUICK else 1170))
# Of the C tests' kinds of rings; the last has the first set-up there is.
RINGS = "defer_taskrun, tiny;plain, tiny;io_uring, sealed"
if not QUICK:
    RINGS = f"epoll;defer_taskrun;coop_taskrun;plain;{RINGS}"
HANGS = 60  # seconds in which a machine has nothing to do and a test does not end; the longest sleep takes half of it
PATIENCE = 5  # an emulated processor is so many times as slow, and more
DAY = 86400


def time_left():
    return max(DEADLINE - time.monotonic(), 0.1)


# ---- kernels ----

# Small lists, in which the newest kernel of each release is.
ARCHIVES = {"debian": ["bookworm-backports", "trixie-backports"],
            "debian-security": ["bullseye-security", "bookworm-security", "trixie-security"]}


def open_apt():
    """An apt with the package lists, which are fetched at most once a day."""
    apt = Apt(CACHE / "apt", [("deb", archive, suite) for archive, suites in ARCHIVES.items() for suite in suites])
    stamp = CACHE / "apt/updated"
    if not stamp.exists() or time.time() - stamp.stat().st_mtime > DAY:
        print("kernels: fetching Debian's package lists", flush=True)
        apt.update(time_left() / 3)
        stamp.touch()
    return apt


def numbers(version):
    return [int(number) for number in re.findall(r"\d+", version)]


def is_of(version, wanted):
    """Whether "6.12.95-1" is a "6.12"; 6.1 it is not."""
    return numbers(version)[:len(numbers(wanted))] == numbers(wanted)


def find_packages(apt):
    """The kernels that Debian has: {version: package}. The newer ones have their image in linux-binary-*."""
    def ask(*question):
        return apt.run("apt-cache", *question, seconds=time_left() / 3)

    names = [name for name in ask("pkgnames", "linux-").split()
             if re.fullmatch(r"linux-(image|binary)-\d.*-cloud-amd64", name)]
    found = {}
    for line in ask("madison", *names).splitlines():
        package, version, _ = (field.strip() for field in line.split("|"))
        found[version] = min(package, found.get(version, package))  # linux-binary-* before linux-image-*
    return found


def fetch(apt, version, package):
    """Downloads a kernel's package and keeps its image."""
    directory = CACHE / version
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    print(f"kernels: downloading {package}", flush=True)
    apt.run("apt-get", "download", f"{package}={version}", seconds=time_left() / 3, cwd=directory)
    archive, = directory.glob("*.deb")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as unpack:
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as files:
            for file in files:
                if file.isfile() and os.path.basename(file.name).startswith("vmlinuz"):
                    (directory / "partial").write_bytes(files.extractfile(file).read())
    archive.unlink()
    (directory / "partial").rename(directory / "vmlinuz")


def newest(versions, wanted):
    return max((version for version in versions if is_of(version, wanted)), key=numbers, default=None)


def find_kernels(wanted):
    """Of each (version, image), or why it can't be had: from the network where that can be reached, else the cache."""
    packages, reason = {}, None
    try:
        apt = open_apt()
        packages = find_packages(apt)
    except (Unavailable, OSError) as error:
        reason = str(error)
    for prefix in wanted:
        version = newest(packages, prefix)
        try:
            if version and not (CACHE / version / "vmlinuz").exists():
                fetch(apt, version, packages[version])
        except (Unavailable, OSError) as error:
            reason = str(error)
        image = newest([path.parent.name for path in CACHE.glob("*/vmlinuz")], prefix)
        yield (image, CACHE / image / "vmlinuz") if image else reason or f"Debian has no kernel {prefix}"


# ---- the initramfs ----

PACKAGES = {"c": ["dash", "coreutils", "python3", "libcmocka-dev", "liburing-dev", "liblua5.4-dev"],
            "python": ["python3-pytest", "python3-anyio", "python3-trio", "python3-uvloop", "python3-hypothesis"],
            "lua": ["lua5.4", "lua-busted", "lua-socket", "lua-luv", "lua-cqueues"]}
LEFT_OUT = re.compile(r"/usr/share/(doc|man|locale|icons|zoneinfo|lintian|bug|perl)|/usr/(bin|lib|lib/[^/]*)/perl|\.a$|"
                      r"/__pycache__/|/usr/include/|/gconv/|/libperl|/pydoc_data/")
# Tests that take long where they are emulated, and tell least of the kernel.
LEFT_OUT_TESTS = {
    "tests/python/test_lab_[a-z]+.py": "the lab's commands are the same everywhere; its rules are tried by themselves",
    "tests/python/test_(differential|fuzz).py": "as many scenarios as they need take minutes in an emulator",
    "tests/python/test_input.py": "bad arguments ask nothing of the kernel",
    "tests/python/test_loop_transport.py": "connections ask nothing of the kernel that test_loop does not",
    "tests/lua/(input|meta|module|rock|wrap)_spec.lua": "bad arguments and the module's form ask nothing of the kernel",
}
OF_THE_TREE = re.compile(r"(?!\.git/|build/)|"
                         r"build/(tests/test_|tests/lua/|examples/host_|lab/pollring-rules$|python/|lua/.*\.so$)")


def packages_with_dependencies(names):
    """The installed ones of these packages and of all that they need."""
    found, left = set(), list(names)
    while left:
        form = "${binary:Package}\t${db:Status-Status}\t${Pre-Depends}, ${Depends}\n"
        told = subprocess.run(["dpkg-query", "-W", "-f", form, *left], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True).stdout
        left = []
        for line in told.splitlines():
            name, status, needs = line.split("\t")
            if status == "installed" and name not in found:
                found.add(name)
                left += [need for need in re.findall(r"(?:^|[,|] )([a-z0-9][a-z0-9+.-]*)", needs)]
    return found


def system_files():
    packages = packages_with_dependencies([name for suite in {"c", *SUITES} for name in PACKAGES[suite]])
    listed = subprocess.run(["dpkg-query", "-L", *packages], stdout=subprocess.PIPE, text=True, check=True).stdout
    for path in {"/bin/busybox", "/etc/passwd", "/etc/group", "/etc/protocols", "/etc/nsswitch.conf", "/etc/hosts",
                 *listed.splitlines()}:
        if os.path.lexists(path) and not os.path.isdir(path) and not LEFT_OUT.search(path):
            yield os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
            if os.path.islink(path):
                yield os.path.realpath(path)


def tree_files():
    for directory, _, names in os.walk(ROOT):
        for name in names:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, ROOT)
            if (OF_THE_TREE.match(relative) and not path.endswith((".o", ".d", ".pyc"))
                    and not any(re.fullmatch(pattern, relative) for pattern in LEFT_OUT_TESTS)):
                yield path


def left_out(suites):
    """What is told of the tests that are not run in the machines."""
    return [{"program": suite, "test": "", "outcome": "skipped", "reason": f"{pattern}: {reason}"}
            for pattern, reason in LEFT_OUT_TESTS.items() for suite in suites if f"/{suite}/" in pattern]


def write_entry(archive, number, path, mode, content):
    """An entry of a cpio archive as the kernel reads it (newc)."""
    name = path.lstrip("/").encode() + b"\0"
    fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
    archive.write(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
    archive.write(b"\0" * (-archive.tell() % 4) + content)
    archive.write(b"\0" * (-archive.tell() % 4))


def write_initramfs(path):
    """Every file at its own path, so that nothing in the machine is elsewhere than here."""
    files = {*system_files(), *tree_files()}
    roots = [path for path in ("/bin", "/sbin", "/lib", "/lib64") if os.path.islink(path)]
    directories = {"/dev", "/proc", "/sys", "/tmp", "/run", "/root", "/usr/sbin", "/usr/lib64"}
    for file in files:
        directories.update(str(parent) for parent in Path(file).parents)
    made = [(directory, stat.S_IFDIR | 0o755, b"") for directory in sorted(directories - {"/"} - set(roots))]
    made += [("/init", stat.S_IFREG | 0o755, (ROOT / "tests/kernels/init").read_bytes()),
             ("/job", stat.S_IFREG | 0o644, job().encode())]
    with open(path, "wb") as archive:
        for number, entry in enumerate(made):
            write_entry(archive, number, *entry)
        for number, file in enumerate([*roots, *sorted(files)], len(made)):
            status = os.lstat(file)
            content = os.readlink(file).encode() if stat.S_ISLNK(status.st_mode) else Path(file).read_bytes()
            write_entry(archive, number, file, status.st_mode, content)
        write_entry(archive, 0, "TRAILER!!!", 0, b"")


# A line of JSON with what the kernel lacks, as pollring finds out.
LACKS = 'import json, pollring; print(json.dumps({"lacks": pollring.probe()["lacks"]}))'


def job():
    """What init does, in sh."""
    environment = {"TEST_PATIENCE": os.environ.get("TEST_PATIENCE", PATIENCE), "TEST_RESULTS": "/dev/ttyS2",
                   "TEST_ROUNDS": os.environ.get("TEST_ROUNDS", "0.05" if QUICK else "0.5"),
                   "POLLRING_TEST_VARIANTS": "default", "LUA": "lua5.4", "HOME": "/root",
                   "QUICK": int(QUICK)}
    if not QUICK and "TEST_FILTER" not in os.environ:
        environment["TEST_RULES"] = "/dev/ttyS3"
    environment["TEST_VARIANTS"] = RINGS
    environment.update((name, os.environ[name]) for name in ("TEST_FILTER", "TEST_VARIANTS") if name in os.environ)
    variables = "".join(f"export {name}='{value}'\n" for name, value in environment.items())
    lacks = "" if QUICK else f"PYTHONPATH=build/python /usr/bin/python3 -c '{LACKS}' >/dev/ttyS2\n"
    return f"{variables}cd '{ROOT}'\n{lacks}/usr/bin/python3 tests/run.py {' '.join(SUITES)}\n"


# ---- running ----

TIME_IS_OVER = "the rest, because the time was over"
OF_QEMU = "the rest, because of the emulator:"
HUNG = f"it hung: idle for {HANGS} seconds"


def read_results(path):
    """The lines of JSON that came so far; the last may be half a line."""
    lines = path.read_bytes().decode(errors="replace").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.rstrip().endswith("}")]


def read_outcomes(path):
    """The results of tests. A rule of the kernel that differs is no failure of ours: it is what there is to tell."""
    for result in read_results(path):
        if result.get("program") == RULES.name and result.get("test") and result["outcome"] == "failed":
            result["outcome"] = "differs"
        if "outcome" in result and result["count"]:
            result["reason"] = re.sub(r"^(.+: pollring_open says Invalid argument|io_uring_setup: EINVAL)$",
                                      "a set-up that this kernel lacks", result["reason"])
            yield result


def show_progress(name, path, shown, seconds):
    """A line for each program whose results are complete. Returns how many programs were shown."""
    results = list(read_outcomes(path))
    programs = list(dict.fromkeys(result["program"] for result in results))
    complete = programs if any("end" in result for result in read_results(path)) else programs[:-1]
    for program in complete[shown:]:
        counts = count(result for result in results if result["program"] == program)
        print(f"{name:>12} {seconds:4.0f} s  {program:<16} {in_words(counts)}", flush=True)
    return max(shown, len(complete))


def count(results):
    counts = Counter()
    for result in results:
        counts[result["outcome"]] += result.get("count", 1)
    return counts


def in_words(counts):
    differ = f", {counts['differs']} rules differ" if counts["differs"] else ""
    return f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped{differ}"


def is_idle(process):
    """Whether no thread of a machine has something to do; one that only waits for a processor has."""
    if process.args[0] == sys.executable:  # no machine; tests/run.py has its own limits
        return False
    try:
        tasks = [task.read_text() for task in Path(f"/proc/{process.pid}/task").glob("*/stat")]
    except OSError:  # a thread that has ended
        return False
    return not any(re.search(r".*\) [RD] ", task, re.DOTALL) for task in tasks)


def wait_for(process, name, results):
    """Until the process ends, shows what it tells. Returns why it was killed; None: it ended by itself."""
    shown, sizes, idle, start = 0, [], 0, time.monotonic()
    while True:
        try:
            process.wait(1)
            killed = None
        except subprocess.TimeoutExpired:
            written = [file.stat().st_size for file in sorted(OUTPUT.glob(f"{name}.*"))]
            idle = idle + 1 if written == sizes and is_idle(process) else 0
            sizes = written
            killed = HUNG if idle > HANGS else TIME_IS_OVER if time.monotonic() > DEADLINE else None
            if not killed:
                shown = show_progress(name, results, shown, time.monotonic() - start)
                continue
            process.kill()
            process.wait()
        show_progress(name, results, shown, time.monotonic() - start)
        return killed


def boot(image, name, accelerator):
    """Runs the tests in a machine. Returns what is wrong with how it ended, None where nothing is."""
    lines = console, _, results, _ = [OUTPUT / f"{name}.{kind}" for kind in ("console", "log", "json", "rules")]
    for file in lines:
        file.unlink(missing_ok=True)
    command = ["qemu-system-x86_64", *accelerator, "-smp", "2", "-m", "1024", "-kernel", image,
               "-initrd", INITRAMFS, "-append", "console=ttyS0 quiet panic=-1 mitigations=off",
               "-no-reboot",
               "-display", "none", "-monitor", "none", "-nic", "none"]
    for file in lines:
        command += ["-serial", f"file:{file}"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as machine:
        killed = wait_for(machine, name, results)
        complaint = machine.stderr.read().strip()
    told = read_results(results)
    if killed or any("end" in result for result in told):
        return killed or (None if any("outcome" in result for result in told) else "no test ran")
    if machine.returncode:  # a panic is none
        return f"{OF_QEMU} {complaint or f'exit status {machine.returncode}'}"
    messages = console.read_text(errors="replace").strip().splitlines() if console.exists() else []
    panic = next((message for message in messages if "Kernel panic" in message), None)
    return panic or (messages[-1] if messages else "it did not start")


# Without CMPXCHG16B, whose emulation (seen in qemu 7.2) leaves wrong flags behind: kernels allocate memory by it, and
# die.
SOFTWARE = ["-accel", "tcg,thread=multi", "-cpu", "max,-cx16"]
HARDWARE = ["-accel", "kvm", "-cpu", "host"]


def choose_accelerator(image):
    """Hardware where it proves to work: a /dev/kvm inside another machine may crash what it runs."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return SOFTWARE
    command = ["qemu-system-x86_64", *HARDWARE, "-smp", "2", "-m", "256", "-kernel", image, "-nographic",
               "-nic", "none", "-append", "console=ttyS0 panic=-1", "-no-reboot"]
    try:  # without an initramfs the kernel comes as far as looking for one
        told = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=10).stdout
    except subprocess.TimeoutExpired:
        return SOFTWARE
    works = b"Unable to mount root fs" in told and not re.search(rb"BUG:|Oops|internal error", told)
    return HARDWARE if works else SOFTWARE


def run_here(name):
    """Runs the tests on this machine's own kernel. Returns what is wrong with how it ended, None where nothing is."""
    log, results, rules = (OUTPUT / f"{name}.{kind}" for kind in ("log", "json", "rules"))
    results.unlink(missing_ok=True)
    with open(log, "wb") as output:
        process = subprocess.Popen([sys.executable, ROOT / "tests/run.py", *SUITES], stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT,
                                   env={**os.environ, "TEST_RESULTS": str(results), "TEST_RULES": str(rules)})
        killed = wait_for(process, name, results)
    if not QUICK and not killed:
        with open(results, "ab") as told:
            environment = {**os.environ, "PYTHONPATH": BUILD / "python"}
            subprocess.run([sys.executable, "-c", LACKS], stdout=told, env=environment)
    return killed


# ---- what came of it ----

SETUPS = ("defer_taskrun", "coop_taskrun", "plain")


def setup_that_stuck(results):
    """The first set-up whose tests were not all skipped: the one that a ring takes by itself."""
    for setup in SETUPS:
        if any(result["outcome"] != "skipped" for result in results if f"[{setup}" in result.get("test", "")):
            return setup
    return "epoll" if any("[epoll" in result.get("test", "") for result in results) else ""


def is_documented(name, result):
    """Whether docs/kernels.md tells of a rule that differs on kernels of this series."""
    series, sentence = ".".join(name.split(".")[:2]), result["test"].split(": ")[-1]
    page = ROOT / "docs/kernels.md"
    part = page.read_text().partition(f"`{sentence}`")[2].partition("\n#")[0] if page.exists() else ""
    told = re.search(rf"^\| {re.escape(series)}\..*differs", part, re.MULTILINE)
    return " (docs/kernels.md)" if told else ", and docs/kernels.md does not say so"


def show_kernel(name, results, wrong):
    """Its line of the table, and under it what failed and why what was skipped."""
    counts = count(results)
    print(f"{name:>12}  {setup_that_stuck(results):<14} {in_words(counts)}")
    reasons = Counter()
    for result in results:
        if result["outcome"] == "failed":
            print(f"{'':>14}failed: {result['program']}: {result['test'] or result['reason']}")
        elif result["outcome"] == "skipped":
            reasons[result["reason"]] += result.get("count", 1)
    for result in results:
        if result["outcome"] == "differs":
            print(f"{'':>14}differs{is_documented(name, result)}: {result['test']}")
    for reason, number in reasons.most_common():
        print(f"{'':>14}skipped {number}: {reason}")
    if wrong:
        print(f"{'':>14}failed: {wrong}: {OUTPUT}/{name}.log")


def run_machine(version, image, accelerator):
    """Runs the tests on a kernel. (name, what is wrong with how it ended)"""
    name = version.split("-")[0]
    for attempt in (accelerator, SOFTWARE, SOFTWARE):  # emulators crash too, most often at the start
        wrong = boot(image, name, attempt)
        if wrong in (None, TIME_IS_OVER) or (attempt == SOFTWARE and read_results(OUTPUT / f"{name}.json")):
            break
        print(f"{name:>12}  {wrong}: once more", flush=True)
    return name, wrong


def missing_programs():
    needed = {"qemu-system-x86_64": "qemu-system-x86", "apt-get": "apt", "dpkg-deb": "dpkg",
              "/bin/busybox": "busybox-static"}
    if os.uname().machine != "x86_64":
        return "only on x86-64"
    packages = [package for program, package in needed.items() if not shutil.which(program)]
    return "not installed: " + " ".join(packages) if packages else None


def main():
    OUTPUT.mkdir(parents=True, exist_ok=True)
    missing, table = missing_programs(), []
    wanted = [kernel for kernel in KERNELS if kernel != "running"]
    found = [missing] * len(wanted) if missing or not wanted else list(find_kernels(wanted))
    machines = [kernel for kernel in found if isinstance(kernel, tuple)]
    for kernel, reason in zip(wanted, found):
        if isinstance(reason, str):
            table.append((kernel, [{"program": "", "test": "", "outcome": "skipped", "reason": reason}], None))
    if machines:
        write_initramfs(INITRAMFS)
        accelerator = choose_accelerator(machines[0][1])
    with ThreadPoolExecutor(JOBS) as pool:
        ran = list(pool.map(lambda machine: run_machine(*machine, accelerator), machines))
    INITRAMFS.unlink(missing_ok=True)
    if "running" in KERNELS:
        ran.append((os.uname().release, run_here(os.uname().release)))
    for name, wrong in ran:
        results = list(read_outcomes(OUTPUT / f"{name}.json"))
        if name != os.uname().release:
            results += left_out(SUITES)
        if wrong and wrong.startswith((TIME_IS_OVER, OF_QEMU)):
            results.append({"program": "", "test": "", "outcome": "skipped", "reason": wrong})
            wrong = None
        table.append((name, results, wrong))
    rings = os.environ.get("TEST_VARIANTS", RINGS).replace(";", ", or ")
    print(f"\nIn the machines the C tests had rings that are {rings}.\n")
    total = Counter()
    for name, results, wrong in sorted(table, key=lambda row: numbers(row[0])):
        show_kernel(name, results, wrong)
        total += count(results)
        total["failed"] += wrong is not None
    print(f"\nkernels: {in_words(total)}")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
