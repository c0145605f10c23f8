#!/usr/bin/env python3
"""Runs the tests, shows what they write, and closes with one line that sums up all of them.

    tests/run.py [c] [asan] [valgrind] [python] [lua] [soak]   # all where none is named; the programs are built already

It knows how each runner reports (cmocka and the soak in TAP, pytest in JUnit's XML, busted in a line) and nothing of what is tested.
A runner is killed with all its processes at its time limit. One that crashed, hung, reported less than it planned or
ran no test has failed, whatever it reported.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LUA = os.environ.get("LUA", "lua5.4")
SECONDS = {"c": 300, "asan": 400, "valgrind": 400, "python": 900, "lua": 300, "soak": 120}  # several times what they take


def run(command, seconds, on_line=lambda line: None, **environment):
    """Runs a command, shows its lines as they come. Returns what is wrong with how it ended, None where nothing is."""
    if seconds <= 0:
        return "not run, the time for these tests was over"
    try:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, start_new_session=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        return str(error)

    def show():
        for line in process.stdout:
            line = line.decode(errors="replace")
            print(line, end="", flush=True)
            on_line(line)

    reader = threading.Thread(target=show, daemon=True)
    reader.start()
    try:
        status = process.wait(seconds)
        return f"exit status {status}" if status else None
    except subprocess.TimeoutExpired:
        return f"killed after {seconds:.0f} seconds"
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # itself at the limit, and what it left behind
        except ProcessLookupError:
            pass
        reader.join(5)


def run_tap(command, seconds):
    """Runs a program that writes TAP: a plan ("1..3"), and a line for each test."""
    counts, planned = Counter(), 0

    def count(line):
        nonlocal planned
        if result := re.match(r"(not )?ok \d+(.*# SKIP)?", line):
            counts["skipped" if result[2] else "failed" if result[1] else "passed"] += 1
        elif plan := re.match(r"1\.\.(\d+)$", line):
            planned += int(plan[1])

    wrong = run(command, seconds, count, CMOCKA_MESSAGE_OUTPUT="TAP")
    reported = sum(counts.values())
    if reported != planned or not planned:
        wrong = f"{reported} of {planned} tests reported, {wrong or 'exit status 0'}"
    return counts, wrong


def run_c_programs(name, directory, wrapper=(), leave_out="nothing"):
    deadline = time.monotonic() + SECONDS[name]
    for source in sorted((ROOT / "tests/c").glob("test_*.c")):
        if not source.match(leave_out):
            program = directory / "tests" / source.stem
            yield f"{name}: {source.stem}", run_tap([*wrapper, program], deadline - time.monotonic())


def run_c():
    return run_c_programs("c", BUILD)


def run_asan():
    return run_c_programs("asan", BUILD / "asan")


def run_valgrind():
    if not shutil.which("valgrind"):
        print("skipped: valgrind is not installed")
        return [("valgrind", (Counter(skipped=1), None))]
    # The kernel's tests are left out: they use none of our memory.
    return run_c_programs("valgrind", BUILD, leave_out="test_kernel_*", wrapper=[
        "valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite"])


def run_python():
    report = BUILD / "pytest.xml"
    report.unlink(missing_ok=True)
    wrong = run([sys.executable, "-m", "pytest", "-ra", f"--junitxml={report}", "tests/python"], SECONDS["python"],
                PYTHONPATH=str(BUILD / "python"))
    counts = Counter()
    if report.exists():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            of = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
            counts["failed"] += of["failures"] + of["errors"]
            counts["skipped"] += of["skipped"]
            counts["passed"] += of["tests"] - of["failures"] - of["errors"] - of["skipped"]
    return [("python", (counts, wrong))]


def run_lua():
    counts = Counter()

    def count(line):
        if result := re.match(r"(\d+) success\w* / (\d+) failures? / (\d+) errors? / (\d+) pending", line):
            passed, failures, errors, pending = map(int, result.groups())
            counts.update(passed=passed, failed=failures + errors, skipped=pending)

    # Not busted's TAP: it dies of a file that does not load, before it says why.
    wrong = run([LUA, shutil.which("busted") or "busted", "--output=plainTerminal", "--lang=en", "--verbose",
                 "--lpath=lua/?.lua", f"--cpath={BUILD}/lua/?.so;{BUILD}/tests/lua/?.so", "tests/lua"], SECONDS["lua"], count)
    return [("lua", (counts, wrong))]


def run_soak():
    """Some seconds of what `make soak` does for some minutes."""
    return [("soak", run_tap([sys.executable, "tests/soak/run.py", "6"], SECONDS["soak"]))]


RUNNERS = {"c": run_c, "asan": run_asan, "valgrind": run_valgrind, "python": run_python, "lua": run_lua,
           "soak": run_soak}


def main(names):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the running runner is killed too
    total, complaints = Counter(), []
    for name in names or RUNNERS:
        print(f"\n==== {name} ====", flush=True)
        before = total.copy()
        for title, (counts, wrong) in RUNNERS[name]():
            if wrong and not (counts["failed"] and wrong.startswith("exit status")):  # failures say so themselves
                counts["failed"] += 1
                complaints.append(f"{title}: {wrong}")
            total += counts
        if total == before:
            total["failed"] += 1
            complaints.append(f"{name}: no test ran")
    print("", *complaints, sep="\n")
    skipped = f", {total['skipped']} skipped" if total["skipped"] else ""
    print(f"{total['passed']} passed, {total['failed']} failed{skipped}", flush=True)
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
