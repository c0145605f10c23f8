#!/usr/bin/env python3
"""What is still to do before a release: `make release-check`. Each check is a line of TAP; one that fails says below what
to do about it. The exit status is 1 where any fails.

It reads what those tests left that take minutes (tests/run.py, tests/fresh.sh, tests/packages/run.py) and runs what takes
seconds: lint, the docs, the source release.
"""

import json
import re
import subprocess
import sys
import tarfile
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = re.search(r'define POLLRING_VERSION "(.*)"', (ROOT / "core/pollring.h").read_text())[1]


def output(*command):
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)


def commit():
    """The one that is checked out; with "-dirty" where files were changed."""
    return output("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").stdout.strip()


def version_mistakes():
    """Where the tree names another version than the header, in which it is defined."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", VERSION):
        yield f"core/pollring.h: POLLRING_VERSION is {VERSION}, which is no MAJOR.MINOR.PATCH"
    rockspecs = [path.name for path in ROOT.glob("pollring-[0-9]*.rockspec")]
    if rockspecs != [f"pollring-{VERSION}-1.rockspec"]:
        yield f"there must be one pollring-{VERSION}-1.rockspec, and not {rockspecs}"
    for path in output("git", "ls-files", "*.md", "*.rockspec", "*.py", "*.toml", "Makefile").stdout.split():
        text = (ROOT / path).read_text()
        named = re.findall(r'pollring[- ]v?(\d+\.\d+\.\d+)|^version = "(\d+\.\d+\.\d+)', text, re.MULTILINE)
        for other in {name for pair in named for name in pair} - {"", VERSION}:
            yield f"{path}: names version {other}, the header {VERSION}"
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    if newest and [*map(int, newest[1].split("."))] > [*map(int, VERSION.split("."))]:
        yield f"CHANGELOG.md: has {newest[1]}, the header {VERSION}"


def built_mistakes():
    """What was built says another version."""
    for command in ([sys.executable, "-c", "import pollring; print(pollring.__version__)"],
                    [sys.executable, "-m", "pollring", "--version"]):
        told = output("env", "PYTHONPATH=build/python", *command).stdout.split()
        if told[-1:] != [VERSION]:
            yield f"{' '.join(command[1:])} says {' '.join(told)}: make"


def changelog_mistakes():
    text = (ROOT / "CHANGELOG.md").read_text()
    section = re.search(rf"^## \[{re.escape(VERSION)}\] - (.*)\n", text, re.MULTILINE)
    unreleased = re.search(r"^## \[Unreleased\]\n(.*?)^(?:## |\[)", text, re.MULTILINE | re.DOTALL)
    if not section:
        yield f"add the line: ## [{VERSION}] - {date.today()}, between Unreleased and what is under it"
    elif section[1] != str(date.today()):
        yield f"{VERSION} has the date {section[1]}, today is {date.today()}"
    if not unreleased:
        yield "there is no section ## [Unreleased]"
    elif section and unreleased[1].strip():
        yield f"what is under Unreleased belongs under {VERSION}"
    for name in re.findall(r"^## \[(.*?)\]", text, re.MULTILINE):
        if f"\n[{name}]: " not in text:
            yield f"there is no link [{name}]: at the end"


def git_mistakes():
    if changes := output("git", "status", "--porcelain").stdout:
        yield "commit, or take away:\n" + changes.rstrip()
    tag = output("git", "rev-parse", "--quiet", "--verify", f"refs/tags/v{VERSION}^{{commit}}").stdout.strip()
    if tag and tag != commit():
        yield f"the tag v{VERSION} is another commit: raise POLLRING_VERSION in core/pollring.h"


def make_mistakes(*targets):
    def mistakes():
        done = output("make", "--silent", *targets)
        if done.returncode:
            yield f"make {' '.join(targets)}:\n" + "\n".join(done.stdout.splitlines()[-10:])
    return mistakes


def lint_mistakes():
    done = output("make", "--silent", "lint")
    yield from re.findall("left out, .*", done.stdout) if done.returncode == 0 else [done.stdout]


def archive_mistakes():
    """Of the source release: what a build without swig and git needs is in it."""
    yield from make_mistakes("dist")()
    release = ROOT / f"dist/pollring-{VERSION}.tar.gz"
    if not release.exists():
        return
    with tarfile.open(release) as archive:
        names = set(archive.getnames())
    for name in ("generated/pollring_wrap.c", "core/pollring.h", "LICENSE", "README.md"):
        if f"pollring-{VERSION}/{name}" not in names:
            yield f"{release.name} has no {name}"


def tests_mistakes():
    """Of the last run of tests/run.py."""
    try:
        last = json.loads((ROOT / "build/last_test.json").read_text())
    except FileNotFoundError:
        yield "nothing was tested: ./bootstrap test"
        return
    if last["commit"] != commit():
        yield "what was tested is another commit: ./bootstrap test"
    if last["suites"]:
        yield f"only {' '.join(last['suites'])} was tested: ./bootstrap test"
    if last.get("failed"):
        yield f"{last['failed']} failed: ./bootstrap test"


def has_passed(file):
    """Whether a test has left in this file below build/ that it passed with this commit."""
    told = ROOT / "build" / file
    return told.exists() and told.read_text().strip() == commit()


def fresh_mistakes():
    for suite in ("bookworm", "trixie"):
        if not has_passed(f"fresh/{suite}.passed"):
            yield f"not tried in {suite} with this commit: sudo make check-fresh"


def packages_mistakes():
    if not has_passed("packages/passed"):
        yield "not tried with this commit, for all Pythons: make check-packages"


CHECKS = {
    f"the version is {VERSION} wherever it is named": version_mistakes,
    "what is built tells it": built_mistakes,
    "the changelog has it, with today's date": changelog_mistakes,
    "the tree is clean, and its tag is free": git_mistakes,
    "lint": lint_mistakes,
    "the documentation is built": make_mistakes("docs"),
    "the source release": archive_mistakes,
    "all tests passed": tests_mistakes,
    "README's commands work in a bare Debian": fresh_mistakes,
    "what is installed from the packages works": packages_mistakes,
}


def main():
    failed = 0
    print(f"1..{len(CHECKS)}")
    for number, (name, mistakes) in enumerate(CHECKS.items(), 1):
        found = list(mistakes())
        failed += bool(found)
        print(f"{'not ok' if found else 'ok'} {number} - {name}")
        for line in "\n".join(found).splitlines():
            print(f"    {line}", flush=True)
    print(f"\n{failed} left to do" if failed else f"\nRelease it: git tag -a v{VERSION} -m 'pollring {VERSION}' && "
          f"git push origin v{VERSION}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
