#!/usr/bin/env python3
"""Holds load on each backend for some time, and reports in TAP: `make soak`, and the suite "soak" of tests/run.py.

    tests/soak/run.py SECONDS [io_uring|epoll]      both where none is named, which share the time

The programs are built already. Each tests itself, shows its progress and ends with its figures; here is only who runs
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
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(BUILD / "python"), "LUA_CPATH_5_4": f"{BUILD}/lua/?.so;;"}


def main(seconds, *named):
    backends = named or ("io_uring", "epoll")
    print(f"1..{len(backends) * len(PROGRAMS)}", flush=True)
    number, failed = 0, False
    for backend in backends:
        for name, command, share in PROGRAMS:
            number += 1
            own = float(seconds) / len(backends) * share
            status = subprocess.run([*command, backend, f"{own:.2f}"], cwd=ROOT, env=ENVIRONMENT).returncode
            skipped = status == CANNOT_OPEN and not named
            failed |= status != 0 and not skipped
            print(f"{'not ' if status and not skipped else ''}ok {number} - {backend}: {name}"
                  f"{f' # SKIP {backend} cannot be opened here' if skipped else ''}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
