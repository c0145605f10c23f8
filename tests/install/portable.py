#!/usr/bin/env python3
"""Builds the library for other compilers, C libraries and processors, and runs the C tests there. Writes TAP.

    tests/install/portable.py [clang] [musl] [m32] [s390x]     # make check-portable: all

clang  the other compiler
musl   the other C library
m32    32 bits, on this processor
s390x  big-endian: in qemu's user mode, which has no io_uring, so the tests on epoll, and how a mask is stored for a
       kernel (test_mask)

The core and the Lua module are built without a warning. liburing and cmocka, which no package has for the last three,
are built from Debian's source packages, which are fetched into build/portable. What can't be had (a compiler, the
network) is skipped with the reason.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "tests"))
from private_apt import Apt, Unavailable  # noqa: E402

OUTPUT = ROOT / "build/portable"
SOURCES = OUTPUT / "sources"
KERNEL_HEADERS = OUTPUT / "kernel-headers"  # of this processor, which musl and 32 bits lack
LUA_HEADERS = OUTPUT / "lua-headers"  # what Debian's Lua includes, which is for this machine
WARNINGS = "-Wall -Wextra -Wshadow -Wconversion -Werror"
# What cmocka's own build would find out.
CMOCKA = ["-DHAVE_" + name for name in (
    "STDINT_H INTTYPES_H STRINGS_H UNISTD_H MALLOC_H SIGNAL_H STRUCT_TIMESPEC CLOCK_GETTIME "
    "CLOCK_GETTIME_REALTIME GCC_THREAD_LOCAL_STORAGE").split()]
# Of each: the compiler; Debian's packages with what it takes; what runs its programs; the tests it is for.
TARGETS = {
    "clang": (["clang"], "clang", [], {}),
    "musl": (["musl-gcc", "-idirafter", str(KERNEL_HEADERS)], "musl-tools", [], {}),
    "m32": (["gcc", "-m32", "-idirafter", str(KERNEL_HEADERS)], "lib32gcc-12-dev libc6-dev-i386", [], {}),
    "s390x": (["s390x-linux-gnu-gcc"], "gcc-s390x-linux-gnu libc6-dev-s390x-cross qemu-user-static",
              ["qemu-s390x-static"],
              {"test_mask": "*", "test_event": "*[epoll*", "test_poll": "*[epoll*", "test_backend": "*[epoll*"}),
}


class Failed(Exception):
    """What was wrong."""


def run(command, seconds, **options):
    """A command's output; Failed, with its last lines, where it fails."""
    try:
        result = subprocess.run(command, timeout=seconds, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, errors="replace", **options)
    except subprocess.TimeoutExpired:
        raise Failed(f"{shlex.join(map(str, command))}: took more than {seconds} seconds")
    if result.returncode:
        lines = "\n".join(result.stdout.strip().splitlines()[-15:])
        raise Failed(f"{shlex.join(map(str, command))}: exit status {result.returncode}\n{lines}")
    return result.stdout


# ---- sources ----

def fetch_sources():
    """The source packages of liburing and cmocka, unpacked."""
    SOURCES.mkdir(parents=True, exist_ok=True)
    apt = Apt(OUTPUT / "apt", [("deb-src", "debian", "bookworm")])
    apt.update(120)
    apt.run("apt-get", "source", "--download-only", "liburing", "cmocka", seconds=60, cwd=SOURCES)
    for archive in SOURCES.glob("*.orig.tar.*z"):
        run(["tar", "xf", archive, "-C", SOURCES], 60)


def source_of(package):
    found = [path for path in SOURCES.glob(f"{package}-*") if path.is_dir()]
    if not found:
        fetch_sources()
        found = [path for path in SOURCES.glob(f"{package}-*") if path.is_dir()]
    return found[0]


def link_headers():
    """Folders with those of this machine's headers that serve others too, and with no more of them."""
    of_machine = f"/usr/include/{run(['gcc', '-print-multiarch'], 10).strip()}"
    for link, target in ((KERNEL_HEADERS / "linux", "/usr/include/linux"),
                         (KERNEL_HEADERS / "asm-generic", "/usr/include/asm-generic"),
                         (KERNEL_HEADERS / "asm", f"{of_machine}/asm"),
                         (LUA_HEADERS / "lua5.4-deb-multiarch.h", f"{of_machine}/lua5.4-deb-multiarch.h")):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def build_dependencies(compiler, directory):
    """liburing and cmocka as archives under a prefix of their own, which is returned."""
    prefix = directory / "usr"
    if (prefix / "lib/libcmocka.a").exists():
        return prefix
    liburing, cmocka = directory / "liburing", source_of("cmocka")
    shutil.rmtree(liburing, ignore_errors=True)
    shutil.copytree(source_of("liburing"), liburing)
    cc = shlex.join(compiler)
    run(["./configure", f"--prefix={prefix}", f"--cc={cc}"], 100, cwd=liburing)
    run(["make", "-s", "-C", "src", "install", "ENABLE_SHARED=0", f"CC={cc}", "CFLAGS=-O2 -g"], 100, cwd=liburing)
    run(["make", "-s", "liburing.pc", f"CC={cc}"], 20, cwd=liburing)
    (prefix / "lib/pkgconfig").mkdir(exist_ok=True)
    shutil.copy(liburing / "liburing.pc", prefix / "lib/pkgconfig")
    for header in (cmocka / "include").glob("*.h"):
        shutil.copy(header, prefix / "include")
    run([*compiler, "-O1", "-w", f"-I{prefix}/include", *CMOCKA, "-c", cmocka / "src/cmocka.c", "-o",
         directory / "cmocka.o"], 60)
    run(["ar", "rcs", prefix / "lib/libcmocka.a", directory / "cmocka.o"], 10)
    return prefix


# ---- building, and running the tests ----

def check_tools(compiler, packages, runner):
    directory = OUTPUT / "try"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "try.c").write_text("#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n")
    try:
        run([*compiler, *(["-static"] if runner else []), "-o", directory / "try", directory / "try.c"], 30)
        run([*runner, directory / "try"], 30)
    except (Failed, OSError) as error:
        raise Unavailable(f"{str(error).splitlines()[0]}; Debian has it in {packages}")


def build(name, compiler, tests):
    """Builds core, Lua module and tests. What an emulator runs is static: there is no loader of it here."""
    directory = OUTPUT / name
    environment, options = dict(os.environ), []
    if name != "clang":  # which links what is installed here
        directory.mkdir(exist_ok=True)
        prefix = build_dependencies(compiler, directory)
        environment.update(PKG_CONFIG_LIBDIR=f"{prefix}/lib/pkgconfig", LDFLAGS=f"-L{prefix}/lib")
        lua = run(["pkg-config", "--cflags", os.environ.get("LUA", "lua5.4")], 10).strip()
        options = [f"LUA_CFLAGS={lua} -I{LUA_HEADERS}", f"PYTHON={sys.executable}"]
        if name == "s390x":
            options += ["OBJCOPY=s390x-linux-gnu-objcopy"]
    output = directory.relative_to(ROOT)
    make = ["make", "-s", f"-j{os.cpu_count()}", f"BUILD={output}", f"CC={shlex.join(compiler)}",
            *options]
    run([*make, f"WARNINGS={WARNINGS}", f"{output}/libpollring.so", f"{output}/lua/pollring.so"], 300, cwd=ROOT,
        env=environment)
    if TARGETS[name][2]:
        environment["LDFLAGS"] += " -static"
    run([*make, "WARNINGS=-w", *(f"{output}/tests/{test}" for test in tests)], 600, cwd=ROOT, env=environment)


def results(name):
    """Of each thing that is tried: its name, and what is wrong with it, None where nothing is."""
    compiler, packages, runner, filters = TARGETS[name]
    # Those in Lua need a Lua for this machine; it is built in their stead.
    tests = list(filters) or sorted(path.stem for path in ROOT.glob("tests/c/test_*.c") if path.stem != "test_lua")
    check_tools(compiler, packages, runner)
    link_headers()
    try:
        build(name, compiler, tests)
    except Failed as error:
        yield "builds", str(error)
        return
    yield "builds", None
    for test in tests:
        environment = {**os.environ, "TEST_PATIENCE": "3"}
        if test in filters:
            environment["TEST_FILTER"] = filters[test]
        try:
            run([*runner, OUTPUT / name / "tests" / test], 240, cwd=ROOT, env=environment)
            yield test, None
        except Failed as error:
            yield test, str(error)


def main(names):
    number, failed = 0, False
    for name in names or TARGETS:
        try:
            for test, wrong in results(name):
                number, failed = number + 1, failed or wrong
                print(f"{'not ok' if wrong else 'ok'} {number} - {name}: {test}", flush=True)
                if wrong:
                    print("# " + wrong.replace("\n", "\n# "))
        except Unavailable as error:
            number += 1
            print(f"ok {number} - {name} # SKIP {error}", flush=True)
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
