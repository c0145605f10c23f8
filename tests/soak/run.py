#!/usr/bin/env python3
"""Holds load on each backend for some time, and reports in TAP: `make soak`, and the suite "soak" of tests/run.py.

    tests/soak/run.py SECONDS [io_uring|epoll]      both where none is named, which share the time

The programs are built already. With both backends a fifth of the time is left for tests/python/test_differential.py,
which compares the two. Each tests itself, shows its progress and ends with its figures; here is only who runs
how long. What a backend that can't be opened here would run is skipped, but is a failure where it was named.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build"
LUA = os.environ.get("LUA", "lua5.4")
CANNOT_OPEN = 77
PROGRAMS = [  # name, command, share of the backend's time
    ("c", [BUILD / "soak/soak"], 0.8),
    ("python", [sys.executable, ROOT / "tests/soak/leak.py"], 0.1),
    ("lua", [LUA, ROOT / "tests/soak/leak.lua"], 0.1),
]
DIFFERENTIAL = [sys.executable, "-m", "pytest", "-q", "-o", "faulthandler_timeout=0",
                "tests/python/test_differential.py"]
A_FULL_SOAK = 30  # seconds; the tests run it anyway
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(BUILD / "python"), "LUA_CPATH_5_4": f"{BUILD}/lua/?.so;;"}


def run(command, **environment):
    return subprocess.run(command, cwd=ROOT, env={**ENVIRONMENT, **environment}).returncode


def main(seconds, *named):
    seconds, backends, number, failed = float(seconds), named or ("io_uring", "epoll"), 0, False
    with_differential = not named and seconds >= A_FULL_SOAK
    print(f"1..{len(backends) * len(PROGRAMS) + with_differential}", flush=True)

    def report(title, status):
        nonlocal number, failed
        number += 1
        skipped = status == CANNOT_OPEN and not named
        failed |= status != 0 and not skipped
        print(f"{'not ' if status and not skipped else ''}ok {number} - {title}"
              f"{' # SKIP it cannot be opened here' if skipped else ''}", flush=True)

    if with_differential:
        report("differential", run(DIFFERENTIAL, DIFFERENTIAL_SECONDS=str(seconds / 5)))
        seconds -= seconds / 5
    for backend in backends:
        for name, command, share in PROGRAMS:
            own = seconds / len(backends) * share
            report(f"{backend}: {name}", run([*command, backend, f"{own:.2f}"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
