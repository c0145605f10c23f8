#!/usr/bin/env python3
"""Runs the benchmarks and prints them as one table: `make bench`.

The programs measure, each its contestants in turn within a round, and print a line a figure: LANGUAGE NAME N K
NANOSECONDS. This one repeats them, takes the minimum, and puts each beside the one that it is to be compared with.
"""

import os
import platform
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
REPEATS = 3

PROGRAMS = {
    "c": [BUILD / "bench/collect"],
    "python": [sys.executable, ROOT / "bench/collect.py"],
    "lua": [os.environ.get("LUA", "lua5.4"), ROOT / "bench/collect.lua"],
}
SIZES = [(1, 1, 20000), (100, 100, 2000), (1000, 100, 2000), (10000, 100, 2000)]
ONLY = {"python": SIZES[:3], "lua": [SIZES[0], SIZES[2]]}

TASKS = [("events", 1, 1), ("events", 1000, 100), ("pingpong", 1, 1), ("sockets", 1, 1), ("sleep0", 1, 1),
         ("sleepers", 1000, 20), ("echo", 50, 100)]

# language, size, contestant, the one it is compared with, what must hold
RATIOS = [
    ("c", (1, 1), "pollring", "liburing", None),
    ("c", (1000, 100), "pollring", "liburing", 1.05),
    ("c", (1000, 100), "pinned", "liburing", None),
    ("c", (1, 1), "pollring", "epoll", None),
    ("c", (1000, 100), "pollring", "epoll", 0.45),
    ("python", (1, 1), "pollring", "epoll", 0.95),
    ("python", (1000, 100), "pollring", "epoll", 0.5),
    ("lua", (1, 1), "pollring", "luv", 0.85),
    ("lua", (1000, 100), "pollring", "luv", 0.45),
    ("arm", (10000, 0), "pollring", "epoll", 0.8),
    ("lua-events", (1000, 100), "scheduler", "luv-callbacks", 0.5),
    ("lua-events", (1000, 100), "scheduler", "luv-coroutines", 0.4),
    ("lua-events", (1000, 100), "scheduler", "cqueues", 0.15),
    ("lua-events", (1000, 100), "ring:wait", "luv-callbacks", 0.38),
    ("lua-events", (1, 1), "scheduler", "luv-callbacks", 0.85),
    ("lua-events", (1, 1), "scheduler", "luv-coroutines", 0.7),
    ("lua-events", (1, 1), "scheduler", "cqueues", 0.42),
    ("lua-events", (1, 1), "ring:wait", "luv-callbacks", 0.8),
    ("lua-pingpong", (1, 1), "scheduler", "luv-callbacks", 0.87),
    ("lua-pingpong", (1, 1), "scheduler", "cqueues", 0.7),
    ("lua-sockets", (1, 1), "scheduler", "luv", 0.88),
    ("lua-sockets", (1, 1), "scheduler", "cqueues", 0.78),
    ("lua-sleep0", (1, 1), "scheduler", "luv", 0.3),
    ("lua-sleep0", (1, 1), "scheduler", "cqueues", 0.3),
    ("lua-sleepers", (1000, 20), "scheduler", "luv", 0.5),
    ("lua-sleepers", (1000, 20), "scheduler", "cqueues", 0.6),
    ("lua-echo", (50, 100), "scheduler", "luv", 1.0),
    ("lua-echo", (50, 100), "scheduler", "cqueues", 1.0),
    ("lua-echo", (50, 100), "scheduler", "select", 1.0),
]


def run(command, best):
    environment = {**os.environ, "PYTHONPATH": str(BUILD / "python"), "LUA_CPATH_5_4": f"{BUILD}/lua/?.so;;"}
    done = subprocess.run([*map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        print(f"left out: {' '.join(map(str, command))}: {done.stderr.strip().splitlines()[-1:]}")
    for line in done.stdout.splitlines():
        language, name, count, ready, nanoseconds = line.split()
        key = language, name, int(count), int(ready)
        best[key] = min(best[key], float(nanoseconds))


def main():
    best = defaultdict(lambda: float("inf"))
    for repeat in range(REPEATS):
        for language, command in PROGRAMS.items():
            for size in ONLY.get(language, SIZES):
                run([*command, *size], best)
        run([*PROGRAMS["c"], "arm", 10000, 5], best)
        for task in TASKS:
            run([PROGRAMS["lua"][0], ROOT / "bench/scheduler.lua", *task], best)
        print(f"round {repeat + 1} of {REPEATS} done", file=sys.stderr)

    print(f"\n{platform.release()}, {os.cpu_count()} processors, Python {platform.python_version()}; "
          f"minimum of {REPEATS} runs\n\n{'':13}{'N':>6} {'K':>4}  {'':18} {'ns':>7}")
    for (language, name, count, ready), nanoseconds in sorted(best.items(), key=lambda item: (item[0][0], *item[0][2:])):
        print(f"{language:<13}{count:>6} {ready:>4}  {name:<18} {nanoseconds:7.1f}")
    print()
    for language, (count, ready), name, other, most in RATIOS:
        ours, theirs = best[language, name, count, ready], best[language, other, count, ready]
        verdict = "" if most is None else f"at most {most}: {'yes' if ours / theirs <= most else 'NO'}"
        print(f"{language:<12} {count}/{ready}: {name} / {other} = {ours / theirs:.2f}  {verdict}")
    flat = best["c", "pollring", 10000, 100] / best["c", "pollring", 100, 100]
    print(f"c            pollring, 100 ready, of 10000 files / of 100 = {flat:.2f}  at most 1.2: {'yes' if flat <= 1.2 else 'NO'}")


if __name__ == "__main__":
    main()
