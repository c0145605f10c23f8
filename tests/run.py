#!/usr/bin/env python3
"""Runs the tests, shows what they write, and closes with one line that sums up all of them.

    tests/run.py [c] [asan] [valgrind] [python] [lua] ...  # all where none is named; the programs are built

Each suite's name is one of SUITES below: the tests of a language, as they are (c, python, lua), in an instrumented
build, or with a signal each millisecond; the examples; the fuzzer; the compilers' warnings; the C tests on other
kernels; how many instructions an event takes; what the documentation shows; whether all that has the API's names
agrees; what `make install` and LuaRocks install; what is installed from a source release; what type checkers say; what
keeps the project in order.

TEST_RESULTS   a file, to which each result is added as a line of JSON: program, test, outcome, reason, count
QUICK          1: suite c without the kernel's rules, which are no tests of ours
TEST_PATIENCE  where the machine is slow, the number by which the time limits are multiplied

It knows how each runner reports (cmocka, the soak, the kernel's rules, instructions and the documentation in TAP,
pytest in JUnit's XML, busted in words) and nothing of what is tested. A runner is killed with all its processes at its
time limit. One that crashed, hung, reported less than it planned or ran no test has failed, whatever it reported.
"""

import json
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
SIGNALS = {"POLLRING_TEST_SIGNALS": "1"}  # the fixtures have a timer interrupt the tests each millisecond
FEW_VARIANTS = {"POLLRING_TEST_VARIANTS": "default tiny"}  # of rings, in Python's tests


def seconds_for(suite):
    return SUITES[suite][1] * float(os.environ.get("TEST_PATIENCE") or 1)


def note(program, test, outcome, reason="", count=1):
    """Adds a result to the file of results, where one is wanted."""
    if path := os.environ.get("TEST_RESULTS"):
        with open(path, "a") as file:
            result = {"program": program, "test": test, "outcome": outcome, "reason": reason, "count": count}
            file.write(json.dumps(result) + "\n")


def preloaded_asan():
    """For an interpreter that isn't built with the sanitizer and loads a module that is. It frees little at its end."""
    library = subprocess.check_output([os.environ.get("CC", "cc"), "-print-file-name=libasan.so"], text=True).strip()
    return {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}


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


def run_tap(command, seconds, **environment):
    """Runs a program that writes TAP: a plan ("1..3"), a line for each test. Before a skip cmocka's say the reason."""
    counts, planned, reason, program = Counter(), 0, "", Path(command[-1]).name

    def count(line):
        nonlocal planned, reason
        if result := re.match(r"(not )?ok \d+(?: -)?( # SKIP)?(?: (.*?))?(?: # SKIP (.*))?$", line):
            failed, skipped, test, why = result.groups()
            outcome = "skipped" if skipped or why is not None else "failed" if failed else "passed"
            counts[outcome] += 1
            note(program, test or "", outcome, why or (reason if outcome == "skipped" else ""))
        elif plan := re.match(r"1\.\.(\d+)$", line):
            planned += int(plan[1])
        reason = line[9:].strip() if line.startswith("skipped: ") else ""

    wrong = run(command, seconds, count, CMOCKA_MESSAGE_OUTPUT="TAP", **environment)
    reported = sum(counts.values())
    if os.environ.get("TEST_FILTER") and not planned:
        return counts, None
    if reported != planned or not planned:
        wrong = f"{reported} of {planned} tests reported, {wrong or 'exit status 0'}"
        note(program, "", "failed", wrong)
    return counts, wrong


def skip(name, reason):
    print(f"skipped: {reason}")
    return [(name, (Counter(skipped=1), None))]


def run_c_programs(name, directory, kernel_rules=False, wrapper=(), **environment):
    deadline = time.monotonic() + seconds_for(name)
    programs = [directory / "tests" / source.stem for source in sorted((ROOT / "tests/c").glob("test_*.c"))]
    for program in [*programs, *[directory / "lab/pollring-rules"] * kernel_rules]:
        yield f"{name}: {program.name}", run_tap([*wrapper, program], deadline - time.monotonic(), **environment)


# Only here and under ASan with the kernel's rules: they use none of our code but their own.
def run_c():
    return run_c_programs("c", BUILD, kernel_rules=os.environ.get("QUICK", "") in ("", "0"))


def run_signals_c():
    return run_c_programs("signals-c", BUILD, **SIGNALS)


def run_asan():
    return run_c_programs("asan", BUILD / "asan", kernel_rules=True)


def run_ubsan():
    return run_c_programs("ubsan", BUILD / "ubsan")


def run_tsan():
    return run_c_programs("tsan", BUILD / "tsan", TSAN_OPTIONS=f"suppressions={ROOT}/tests/tsan.supp")


def run_valgrind():
    if not shutil.which("valgrind"):
        return skip("valgrind", "valgrind is not installed")
    return run_c_programs("valgrind", BUILD, wrapper=[
        "valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite"])


def run_pytest(name, directory, *options, tests="tests/python", **environment):
    report = BUILD / f"{name}.xml"
    report.unlink(missing_ok=True)
    wrong = run([sys.executable, "-m", "pytest", "-ra", f"--junitxml={report}", *options, tests],
                seconds_for(name), PYTHONPATH=str(directory / "python"), **environment)
    counts = Counter()
    for case in ElementTree.parse(report).getroot().iter("testcase") if report.exists() else []:
        told = [child for child in case if child.tag in ("skipped", "failure", "error")]
        outcome = "passed" if not told else "skipped" if told[0].tag == "skipped" else "failed"
        counts[outcome] += 1
        reason = told[0].get("message", "").split("\n")[0] if told else ""
        note(name, f"{case.get('classname')}::{case.get('name')}", outcome, reason)
    if not counts:
        note(name, "", "failed", wrong or "no test ran")
    return [(name, (counts, wrong))]


def run_python():
    return run_pytest("python", BUILD)


def run_signals_python():
    return run_pytest("signals-python", BUILD, **SIGNALS, **FEW_VARIANTS)


def run_asan_python():
    return run_pytest("asan-python", BUILD / "asan", **preloaded_asan(), **FEW_VARIANTS)


def run_project():
    return run_pytest("project", BUILD, tests="tests/project")


def run_asyncio():
    counts = Counter()

    def count(line):
        if result := re.match(r"(\d+) passed, (\d+) failed, (\d+) skipped$", line):
            counts.update(dict(zip(("passed", "failed", "skipped"), map(int, result.groups()))))

    wrong = run([sys.executable, ROOT / "tests/asyncio/run_cpython_tests.py"], seconds_for("asyncio"), count,
                PYTHONPATH=str(BUILD / "python"))
    return [("asyncio", (counts, wrong))]


def run_busted(name, directory, **environment):
    counts, noted, outcome = Counter(), Counter(), None

    def count(line):
        nonlocal outcome
        if result := re.match(r"(\d+) success\w* / (\d+) failures? / (\d+) errors? / (\d+) pending", line):
            passed, failures, errors, pending = map(int, result.groups())
            counts.update(passed=passed, failed=failures + errors, skipped=pending)
        elif outcome:
            test, _, reason = line.strip().partition(" skipped: ")
            note(name, test, outcome, reason)
            noted[outcome] += 1
            outcome = None
        elif told := re.match(r"(Failure|Error|Pending) -> ", line):  # the next line names the test
            outcome = "skipped" if told[1] == "Pending" else "failed"

    # Not busted's TAP: it dies of a file that does not load, before it says why.
    wrong = run([LUA, shutil.which("busted") or "busted", "--output=plainTerminal", "--lang=en", "--verbose",
                 "--lpath=lua/?.lua", f"--cpath={directory}/lua/?.so;{BUILD}/tests/lua/?.so", "tests/lua"],
                seconds_for(name), count, **environment)
    for outcome, number in (counts - noted).items():
        note(name, "", outcome, count=number)
    if not counts:
        note(name, "", "failed", wrong or "no test ran")
    return [(name, (counts, wrong))]


def run_lua():
    return run_busted("lua", BUILD)


def run_asan_lua():
    return run_busted("asan-lua", BUILD / "asan", **preloaded_asan())


def run_examples():
    return run_pytest("examples", BUILD, tests="tests/examples")


def run_fuzz():
    """The kept inputs first, then new ones for some seconds; what it finds is left in build/fuzz."""
    program = BUILD / "fuzz/fuzz_calls"
    if not program.exists():
        return skip("fuzz", "no clang with libFuzzer was there to build the fuzzer")
    found = BUILD / "fuzz/found"
    found.mkdir(exist_ok=True)
    seconds = int(os.environ.get("FUZZ_SECONDS") or 30)
    wrong = run([program, f"-max_total_time={seconds}", "-timeout=10", "-print_final_stats=1", "-verbosity=0",
                 f"-artifact_prefix={BUILD}/fuzz/", found, ROOT / "tests/fuzz/corpus"], seconds_for("fuzz") + seconds)
    return [("fuzz", (Counter(passed=not wrong), wrong))]


def run_warnings():
    """All C once more with every warning an error; for each compiler that is installed."""
    for compiler in ("gcc", "clang"):
        if shutil.which(compiler):
            wrong = run(["make", "-s", "warnings", f"CC={compiler}"], seconds_for("warnings"))
            yield f"warnings: {compiler}", (Counter(passed=not wrong), wrong)
        else:
            yield from skip("warnings", f"{compiler} is not installed")


def run_api():
    """Whether header, library, languages, stubs, annotations and documentation have the same names."""
    return [("api", run_tap([sys.executable, "tests/api/check.py"], seconds_for("api")))]


def run_install():
    """What `make install` and LuaRocks install, used from there."""
    return [("install", run_tap([sys.executable, "tests/install/run.py"], seconds_for("install")))]


def run_soak():
    """Some seconds of what `make soak` does for some minutes."""
    return [("soak", run_tap([sys.executable, "tests/soak/run.py", "6"], seconds_for("soak")))]


def run_kernels():
    """The C tests on the oldest kernel and the one of most servers, as far as those can be had and the time allows."""
    counts = Counter()

    def count(line):
        if result := re.match(r"kernels: (\d+) passed, (\d+) failed, (\d+) skipped", line):
            counts.update(passed=int(result[1]), failed=int(result[2]), skipped=int(result[3]))

    chosen = {"QUICK": "1", "KERNELS": "5.10 6.1", "LIMIT": "240"}
    wrong = run([sys.executable, "tests/kernels/run.py"], seconds_for("kernels"), count, **{**chosen, **os.environ})
    return [("kernels", (counts, wrong))]


def run_instructions():
    """`make bench-check`: no speed, but what repeats of it."""
    return [("instructions", run_tap([sys.executable, "bench/instructions.py"], seconds_for("instructions")))]


def run_docs():
    """Every block of code in the documentation, its links; the pages and manual pages built without a warning."""
    return [("docs", run_tap([sys.executable, "tests/docs/run.py"], seconds_for("docs")))]


def run_packages():
    """The short form of `make check-packages`: offline, for this Python."""
    return [("packages", run_tap([sys.executable, "tests/packages/run.py", "--offline"], seconds_for("packages")))]


def run_types():
    """`make typecheck`, with checkers from PyPI."""
    return [("types", run_tap([sys.executable, "tests/packages/typecheck.py"], seconds_for("types")))]


# What runs each suite, and after how many seconds it is killed: several times what it takes.
SUITES = {
    "c": (run_c, 300),
    "signals-c": (run_signals_c, 300),
    "asan": (run_asan, 400),
    "ubsan": (run_ubsan, 300),
    "tsan": (run_tsan, 400),
    "valgrind": (run_valgrind, 400),
    "python": (run_python, 900),
    "signals-python": (run_signals_python, 400),
    "asan-python": (run_asan_python, 900),
    "asyncio": (run_asyncio, 600),
    "lua": (run_lua, 300),
    "asan-lua": (run_asan_lua, 400),
    "examples": (run_examples, 300),
    "fuzz": (run_fuzz, 90),
    "warnings": (run_warnings, 400),
    "soak": (run_soak, 120),
    "kernels": (run_kernels, 300),
    "instructions": (run_instructions, 400),
    "docs": (run_docs, 400),
    "project": (run_project, 60),
    "packages": (run_packages, 300),
    "types": (run_types, 500),
    "api": (run_api, 100),
    "install": (run_install, 400),
}


def leave_result(suites, total):
    """For `make release-check`."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    commit = subprocess.run(describe, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            text=True).stdout.strip() if shutil.which("git") else ""
    (BUILD / "last_test.json").write_text(json.dumps({"commit": commit, "suites": suites, **total}))


def main(names):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the running runner is killed too
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs this in the background
    total, complaints = Counter(), []
    for name in names or SUITES:
        print(f"\n==== {name} ====", flush=True)
        before = total.copy()
        for title, (counts, wrong) in SUITES[name][0]():
            if wrong and not (counts["failed"] and wrong.startswith("exit status")):  # failures say so themselves
                counts["failed"] += 1
                complaints.append(f"{title}: {wrong}")
            total += counts
        if total == before:
            total["failed"] += 1
            complaints.append(f"{name}: no test ran")
    leave_result(names, total)
    print("", *complaints, sep="\n")
    skipped = f", {total['skipped']} skipped" if total["skipped"] else ""
    print(f"{total['passed']} passed, {total['failed']} failed{skipped}", flush=True)
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
