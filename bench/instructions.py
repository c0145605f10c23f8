#!/usr/bin/env python3
"""The guard: instructions an event, from wait to the caller's value, counted by callgrind, so that they repeat on a noisy
machine. `make bench-check` compares them with bench/instructions.json, in TAP, and fails where one grew by more than 3%.

    instructions.py [--record]      --record puts what it counts into that file

The figures depend on the compiler, liburing and the language, so the file has them for each combination that was
recorded. On any other the check is skipped, and says so.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
BASELINE = ROOT / "bench/instructions.json"
LUA = os.environ.get("LUA", "lua5.4")
ALLOWED = 1.03

PYTHON_COLLECT = [sys.executable, "bench/collect.py", "collect"]

# name: the language, what runs, the functions that collect, N, K, rounds, the contestant
CASES = {
    "C, wait, 1 of 1": ("C", [BUILD / "bench/bench", "collect"], ["collect_all"], 1, 1, 2000, "pollring"),
    "C, wait, 100 of 1000": ("C", [BUILD / "bench/bench", "collect"], ["collect_all"], 1000, 100, 100, "pollring"),
    "Python, wait, 1 of 1": ("Python", PYTHON_COLLECT, ["ring_wait"], 1, 1, 2000, "wait"),
    "Python, wait, 100 of 1000": ("Python", PYTHON_COLLECT, ["ring_wait"], 1000, 100, 100, "wait"),
    "Python, iterator, 1 of 1": ("Python", PYTHON_COLLECT, ["poll_iternext"], 1, 1, 2000, "iterator"),
    "Lua, wait, 1 of 1": ("Lua", [LUA, "bench/collect.lua"], ["ring_wait", "take"], 1, 1, 100, "pollring"),
    "Lua, wait, 100 of 1000": ("Lua", [LUA, "bench/collect.lua"], ["ring_wait", "take"], 1000, 100, 10, "pollring"),
}
TURNS_IN_LUA = 16  # of so many rounds each


def output_of(*command):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout.strip()


def environments():
    """What the figures of each language depend on."""
    compiler = output_of(os.environ.get("CC", "cc"), "--version").splitlines()[0]
    version = re.search(r"\d+\.\d+\.\d+", compiler)[0]
    base = (f"{'clang' if 'clang' in compiler else 'gcc'} {version}, {platform.machine()}, "
            f"liburing {output_of('pkg-config', '--modversion', 'liburing')}")
    return {"C": base, "Python": f"{base}, Python {platform.python_version()}",
            "Lua": f"{base}, Lua {output_of('pkg-config', '--modversion', LUA)}"}


def inclusive(profile, functions):
    """Instructions in these functions and what they call."""
    listed = output_of("callgrind_annotate", "--inclusive=yes", "--threshold=100", profile)
    total = 0
    for function in functions:
        found = re.search(rf"^\s*([\d,]+) .*[:?]{function} \[.*(?:pollring|bench)[^/]*\]$", listed, re.MULTILINE)
        if not found:
            raise RuntimeError(f"{function} is not in the profile: was it renamed, or built without symbols?")
        total += int(found[1].replace(",", ""))
    return total


def count(case):
    """Instructions an event."""
    language, command, functions, files, ready, rounds, contestant = CASES[case]
    profile = BUILD / "bench" / ("callgrind." + re.sub(r"\W+", "-", case))
    environment = {**os.environ, "PYTHONPATH": str(BUILD / "python"), "LUA_CPATH_5_4": f"{BUILD}/lua/?.so;;",
                   "PYTHONHASHSEED": "0"}
    done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", *map(str, command), str(files),
                           str(ready), str(rounds), contestant], cwd=ROOT, env=environment, capture_output=True, text=True,
                          timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    events = rounds * ready * (TURNS_IN_LUA if language == "Lua" else 1)
    return round(inclusive(profile, functions) / events, 1)


def why_not():
    return "" if shutil.which("callgrind_annotate") else "valgrind is not installed"


def check():
    """Writes TAP. Whether all is well."""
    recorded = json.loads(BASELINE.read_text())
    well, refused = True, why_not()
    of_language = {} if refused else environments()
    print(f"1..{len(CASES)}")
    for number, case in enumerate(CASES, 1):
        environment = of_language.get(CASES[case][0])
        before = recorded.get(environment, {}).get(case)
        if not before:
            why = refused or f"no figures for {environment}: bench/instructions.py --record adds them"
            print(f"ok {number} - {case} # SKIP {why}", flush=True)
            continue
        try:
            instructions = count(case)
            fine, text = instructions <= before * ALLOWED, f"{instructions} instructions an event, {before} before"
        except (RuntimeError, subprocess.SubprocessError) as error:
            fine, text = False, str(error)
        well = well and fine
        print(f"{'ok' if fine else 'not ok'} {number} - {case}: {text}", flush=True)
    return well


def record():
    recorded = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    of_language = environments()
    for case in CASES:
        instructions = count(case)
        recorded.setdefault(of_language[CASES[case][0]], {})[case] = instructions
        print(f"{case}: {instructions}", flush=True)
    BASELINE.write_text(json.dumps(recorded, indent=4) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--record"]:
        record()
    else:
        sys.exit(not check())
