#!/usr/bin/env python3
"""What type checkers say of the built package, its stubs and the examples: `make typecheck`, the suite "types". In TAP.

They come from PyPI, into build/typecheck; the versions are those of typecheck.txt.
"""

import shutil
import sys
from pathlib import Path

from checks import BUILD, ROOT, Checks, Skipped, make_environment, output

HERE = Path(__file__).resolve().parent
FOLDER = BUILD / "typecheck"
PACKAGE = {"PYTHONPATH": str(BUILD / "python"), "MYPY_CACHE_DIR": str(FOLDER / "cache")}
EXAMPLES = sorted((ROOT / "examples/python").glob("*.py"))


def prepare():
    if sys.version_info < (3, 10):
        raise Skipped("the type checkers need Python 3.10")
    requirements = [line for line in (HERE / "typecheck.txt").read_text().splitlines() if not line.startswith("#")]
    if not shutil.which("node"):
        requirements = [line.replace("pyright==", "pyright[nodejs]==") for line in requirements]
    make_environment(FOLDER, *requirements)


def tool(*command):
    output(FOLDER / "bin/python", "-m", *command, **PACKAGE)


def mypy(*what):
    tool("mypy", "--strict", *what)


def main():
    checks = Checks()
    if checks.run("the checkers are there", prepare):
        checks.run("mypy --strict: the package", mypy, "-p", "pollring")
        checks.run("mypy --strict: a user's program", mypy, HERE / "typed_program.py")
        # Examples use what may not be installed.
        checks.run("mypy --strict: the examples", mypy, "--ignore-missing-imports", "--scripts-are-modules", *EXAMPLES)
        # @disjoint_base, which it would have, is newer than some checkers of users.
        checks.run("stubtest: the stubs are as the modules", tool, "mypy.stubtest", "pollring",
                   "--ignore-disjoint-bases", "--allowlist", HERE / "stubtest.txt")
        checks.run("pyright, for the oldest Python", tool, "pyright", "--project", HERE / "pyright.json",
                   "--pythonpath", FOLDER / "bin/python", "--pythonversion", "3.9")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
