#!/usr/bin/env python3
"""What `make install` and LuaRocks install works for those who use it. Writes TAP.

    tests/install/run.py     # make has built core and Lua module already; some 30 seconds

The library, the header and the pkg-config files are installed under a prefix of their own, and used from there: by
programs in C and C++ with each compiler that is here, and by Lua. What the library exports is tests/api's. Nothing is
installed on this machine. What can't be had is skipped with the reason.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "tests/install/program.c"
LUA = os.environ.get("LUA", "lua5.4")
VERSION = re.search('POLLRING_VERSION "(.*)"', (ROOT / "core/pollring.h").read_text())[1]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SEEN = "POLLIN more\n"  # what the program prints
INSTALLED = ["include/pollring.h", "include/pollring_lua.h", "lib/libpollring.a", "lib/libpollring.so",
             "lib/libpollring.so.0", "lib/libpollring_lua.a", "lib/lua/5.4/pollring.so", "lib/pkgconfig/pollring.pc",
             "lib/pkgconfig/pollring_lua.pc"]


class Skip(Exception):
    pass


def run(*command, **environment):
    """A command's output. Its own environment has nothing of a make around it, nor of an earlier Lua's."""
    outer = {name: value for name, value in os.environ.items()
             if not name.startswith(("MAKE", "MFLAGS", "LUA_", "PKG_CONFIG"))}
    options = {name: environment.pop(name) for name in ("cwd",) if name in environment}
    result = subprocess.run([str(argument) for argument in command], env={**outer, **environment}, timeout=120,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            **options)
    assert result.returncode == 0, f"{shlex.join(map(str, command))}: status {result.returncode}\n{result.stdout}"
    return result.stdout


def make(*arguments):
    return run("make", "-s", f"LUA={LUA}", *arguments, cwd=ROOT)


def files_under(directory):
    return sorted(str(path.relative_to(directory)) for path in Path(directory).rglob("*") if not path.is_dir())


def compilers(*names):
    return [name for name in names if shutil.which(name)]


class Installed:
    """An installation under a prefix of its own."""

    def __init__(self, directory):
        self.prefix = directory / "prefix"
        make("install", f"PREFIX={self.prefix}", "DESTDIR=/")  # with a DESTDIR the system's loader isn't told
        self.environment = {"PKG_CONFIG_PATH": f"{self.prefix}/lib/pkgconfig"}

    def flags(self, *arguments):
        return shlex.split(run("pkg-config", *arguments, **self.environment))


def test_install_puts_what_uninstall_takes_away(directory, _):
    places = [f"DESTDIR={directory}", "PREFIX=/opt/p", "LIBDIR=/opt/p/lib/of-this-machine"]
    make("install", *places)
    expected = ["opt/p/" + name.replace("lib/", "lib/of-this-machine/", 1) for name in INSTALLED]
    found = [name for name in files_under(directory) if "/share/man/" not in name]  # there where make docs has run
    assert found == expected, f"installed: {found}"
    text = (directory / "opt/p/lib/of-this-machine/pkgconfig/pollring.pc").read_text()
    assert "prefix=/opt/p\nlibdir=${prefix}/lib/of-this-machine\n" in text and f"Version: {VERSION}\n" in text, text
    make("uninstall", *places)
    assert not files_under(directory), f"left: {files_under(directory)}"


def test_a_program_links_the_shared_library(directory, installed):
    program = directory / "program"
    flags = installed.flags("--cflags", "--libs", "pollring")
    for compiler in compilers("gcc", "clang"):
        run(compiler, "-std=c11", *STRICT, PROGRAM, "-o", program, *flags)
        assert run(program, LD_LIBRARY_PATH=f"{installed.prefix}/lib") == SEEN
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", program))
    assert "libpollring.so.0" in needed, needed
    assert re.search(r"POLLRING_0\.1 ", run("readelf", "-V", program)), "the program asks for no version of symbols"


def test_a_program_links_statically(directory, installed):
    program = directory / "program"
    flags = installed.flags("--static", "--cflags", "--libs", "pollring")
    run("cc", PROGRAM, "-o", program, "-static", *flags)
    assert run(program) == SEEN
    assert "(NEEDED)" not in run("readelf", "-d", program)


def test_the_header_is_strict_c(directory, installed):
    (directory / "header.c").write_text("#include <pollring.h>\nextern int one;\n")
    for compiler in compilers("gcc", "clang"):
        for standard in ("c99", "c11", "c17"):
            run(compiler, f"-std={standard}", *STRICT, "-fsyntax-only", f"-I{installed.prefix}/include",
                directory / "header.c")


def test_the_headers_are_cxx(directory, installed):
    program = directory / "program"
    if not compilers("g++", "clang++"):
        raise Skip("no g++ and no clang++ is installed")
    flags = installed.flags("--cflags", "--libs", "pollring_lua", LUA)
    for compiler in compilers("g++", "clang++"):
        for standard in ("c++11", "c++14", "c++17"):
            run(compiler, f"-std={standard}", *STRICT, "-fsyntax-only", "-x", "c++", PROGRAM,
                *(flag for flag in flags if flag.startswith("-I")))
        run(compiler, "-std=c++20", *STRICT, "-x", "c++", PROGRAM, "-o", program, *flags)
        assert run(program) == SEEN


SCRIPT = """
local s = require "pollring.scheduler".new()
s:spawn(function() s:sleep(0) print "works" end)
s:run()
s:close()
"""


def test_lua_finds_the_module_by_its_path(_, installed):
    # README's line for a PREFIX that isn't Lua's own.
    assert run(LUA, "-e", SCRIPT, LUA_CPATH=f"{installed.prefix}/lib/lua/5.4/?.so;;") == "works\n"


def test_lua_finds_the_module_without_a_path(directory, _):
    """Installed with the default PREFIX, in a file system of the process's own."""
    make("install", f"DESTDIR={directory}")
    inside = f"mount --bind {directory}/usr/local /usr/local && "
    try:
        run("unshare", "-rm", "sh", "-c", inside + "true")
    except (OSError, AssertionError):
        raise Skip("no mount namespace may be made here")
    lua = shutil.which(LUA)
    assert run("unshare", "-rm", "sh", "-c", inside + shlex.join([lua, "-e", SCRIPT])) == "works\n"


# ---- LuaRocks ----

def luarocks(directory, *arguments, **environment):
    if not shutil.which("luarocks"):
        raise Skip("luarocks is not installed")
    return run("luarocks", "--lua-version=5.4", *arguments, cwd=directory, HOME=str(directory), MAKEFLAGS="-j2",
               **environment)


def copy_tree(directory):
    directory.mkdir()
    for name in ("core", "bindings", "lua"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("*.o", "*.d"))
    for path in (ROOT / "Makefile", *ROOT.glob("*.rockspec")):
        shutil.copy(path, directory)


def assert_works(tree):
    assert run(LUA, "-e", SCRIPT, LUA_CPATH=f"{tree}/lib/lua/5.4/?.so") == "works\n"


def test_a_rock_is_built_from_a_checkout_and_packed(directory, _):
    copy_tree(directory / "checkout")
    luarocks(directory / "checkout", "--tree=tree", "make", "pollring-scm-1.rockspec", "CFLAGS=-O0 -fPIC")
    assert_works(directory / "checkout/tree")
    luarocks(directory / "checkout", "--tree=tree", "pack", "pollring")
    rock, = (directory / "checkout").glob("pollring-scm-1.*.rock")
    luarocks(directory, "--tree=tree", "install", rock)
    assert_works(directory / "tree")


def test_a_rock_is_packed_from_a_source_release_and_built_without_swig(directory, _):
    release = f"pollring-{VERSION}"
    copy_tree(directory / release)
    (directory / release / "generated").mkdir()
    shutil.copy(ROOT / "build/lua/pollring_wrap.c", directory / release / "generated")  # as make dist does
    run("tar", "czf", f"{release}.tar.gz", release, cwd=directory)
    rockspec = (ROOT / f"{release}-1.rockspec").read_text().replace("file://", f"file://{directory}/")
    (directory / f"{release}-1.rockspec").write_text(rockspec)
    luarocks(directory, "pack", f"{release}-1.rockspec")
    luarocks(directory, "--tree=tree", "install", f"{release}-1.src.rock", "CFLAGS=-O0 -fPIC", SWIG="false")
    assert_works(directory / "tree")


def test_the_rockspec_has_the_version_of_the_header(*_):
    rockspec = ROOT / f"pollring-{VERSION}-1.rockspec"
    assert f'version = "{VERSION}-1"' in rockspec.read_text(), f"{rockspec.name} has another version"


def main():
    tests = [(name[5:], test) for name, test in globals().items() if name.startswith("test_")]
    print(f"1..{len(tests)}", flush=True)
    failed = False
    with tempfile.TemporaryDirectory(prefix="pollring-install-") as root:
        installed = Installed(Path(root))
        for number, (name, test) in enumerate(tests, 1):
            directory = Path(root, name)
            directory.mkdir()
            try:
                test(directory, installed)
                print(f"ok {number} - {name}", flush=True)
            except Skip as reason:
                print(f"ok {number} - {name} # SKIP {reason}", flush=True)
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                failed = True
                print(f"not ok {number} - {name}\n# " + str(error or repr(error)).replace("\n", "\n# "), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
