"""Checks written as TAP, programs run for them, and virtual environments under build/."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build"


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


class Checks:
    """A check is a function: what it returns is told, what it raises says why it failed or was skipped."""

    def __init__(self):
        self.names, self.failed = [], 0

    def run(self, name, check, *arguments):
        """Returns whether it passed."""
        self.names.append(name)
        number = len(self.names)
        try:
            told = check(*arguments)
        except Skipped as why:
            print(f"ok {number} - {name} # SKIP {why}", flush=True)
            return False
        except Failed as why:
            self.failed += 1
            print(f"{why}\nnot ok {number} - {name}", flush=True)
            return False
        print(f"ok {number} - {name}{f': {told}' if told else ''}", flush=True)
        return True

    def finish(self):
        """Writes the plan; returns the exit status."""
        print(f"1..{len(self.names)}", flush=True)
        return 1 if self.failed else 0


def output(*command, status=0, seconds=300, cwd=ROOT, without=("PYTHONPATH",), **environment):
    """What a program prints, which has to end with this status (None: any)."""
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    try:
        done = subprocess.run(command, cwd=cwd, env={**inherited, **environment}, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{(error.stdout or b'').decode()}\nkilled after {seconds} seconds: {command}") from None
    if status not in (None, done.returncode):
        raise Failed(f"{done.stdout}\nexit status {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout


def make_environment(folder, *requirements, python=sys.executable, options=()):
    """A virtual environment with these packages of PyPI, made anew unless it is there with the same. Its Python."""
    wanted, made = repr((requirements, options)), folder / "made-with"
    if not made.exists() or made.read_text() != wanted:
        said = output(python, "-m", "venv", "--clear", *options, folder, status=None)
        if not (folder / "bin/pip").exists():
            raise Skipped(f"{python} makes no environment with pip (Debian: apt-get install python3-venv): "
                          f"{said.strip().splitlines()[-1]}")
        if requirements:
            install_from_pypi(folder / "bin/python", *requirements)
        made.write_text(wanted)
    return folder / "bin/python"


def pip(python):
    return python, "-m", "pip", "--quiet", "--disable-pip-version-check"


def install_from_pypi(python, *what):
    try:
        output(*pip(python), "install", "--retries=1", *what)
    except Failed as error:
        said = re.sub("Retrying .* broken by", "can't connect:", str(error))
        if unreachable := re.search(".*(connect|resolve host|timed out).*", said, re.IGNORECASE):
            raise Skipped(f"PyPI can't be reached: {unreachable[0].strip()[:200]}") from None
        raise
