#!/usr/bin/env python3
"""Runs the whole comparison: `make bench`, or `BENCH=quick make bench` for a look in two minutes.

The programs measure, each its contestants in turn, and print a line a figure: "WORKLOAD NAME N K MINIMUM [MEDIAN]". This
one runs them several times, takes the minimum and the median, and puts ours beside each other one: a ratio is of figures
of one run. Half of what it differs by between runs is its noise; where that is larger than what is left to the target,
the table says so. Results go to bench/results: latest.* (quick: quick.*), as text, JSON and SVG.

Peers that are Debian packages take part where they are installed (`./bootstrap bench` installs them). Those of
requirements.txt come from PyPI into an environment under build/. One that can't be had is left out, with its reason.
"""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path

import asyncio_loops
import instructions
import readme

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
RESULTS = ROOT / "bench/results"
QUICK = os.environ.get("BENCH") == "quick"
REPEATS = 3 if QUICK else 5
SECONDS = 105 if QUICK else 840  # what is left over then is left out
LUA = os.environ.get("LUA", "lua5.4")

SIZES = [(1, 1), (100, 10), (1000, 10), (1000, 100), (10000, 1000), (19000, 19), (100, 19)]
MINE = {"pollring", "pinned", "busy", "wait", "iterator", "scheduler", "scheduler-wait_fd", "ring:wait"}
OURS = {"python": "wait", "python-cold": "wait", "import": "pollring", "wakeup": "busy", "wakeup-99": "busy",
        "asyncio": "pollring"}  # by the workload, or its beginning; elsewhere "pollring", "scheduler"

# Rounds: as many as take some seconds with all contestants. poll(2) of thousands of files sets the limit.
ROUNDS = {"c": 3e6, "python": 4e5, "lua": 1e4}
MOST_ROUNDS = {"c": 40000, "python": 6000, "lua": 200}

# workload, N and K, ours, the one it is compared with, at most this share (or none); "median": of medians instead of minima
TARGETS = [
    ("c", (1000, 100), "pinned", "liburing", 1.0),
    ("c", (1000, 100), "pollring", "liburing"),
    ("c", (1000, 100), "pollring", "epoll", 0.4),
    ("c", (1, 1), "pollring", "epoll", 1.0),
    ("python", (1000, 100), "wait", "epoll", 0.45),
    ("python", (1, 1), "wait", "epoll", 0.88),
    ("python", (1000, 100), "wait", "liburing", 0.55),
    ("python", (1, 1), "iterator", "wait", 1.2),
    ("lua", (1000, 100), "pollring", "luv", 0.38),
    ("lua", (1, 1), "pollring", "luv", 0.8),
    ("arm", (10000, 0), "pollring", "epoll", 0.6),
    ("close", (10000, 0), "pollring", "epoll", 1.5),
    ("wakeup", (1, 1), "busy", "epoll", 0.6, "median"),
    ("accept", (4000, 4), "pollring-exclusive", "epoll-exclusive"),
    ("accept", (4000, 4), "pollring-reuseport", "epoll-reuseport"),
    ("accept", (4000, 4), "pollring-exclusive-threads", "epoll-exclusive-threads"),
    ("accept", (4000, 4), "pollring-reuseport-threads", "epoll-reuseport-threads"),
    ("lua-events", (1000, 100), "scheduler", "luv-callbacks", 0.5),
    ("lua-events", (1000, 100), "scheduler", "luv-coroutines", 0.4),
    ("lua-events", (1000, 100), "scheduler", "cqueues", 0.15),
    ("lua-events", (1, 1), "scheduler", "luv-callbacks", 0.85),
    ("lua-events", (1, 1), "scheduler", "luv-coroutines", 0.7),
    ("lua-events", (1, 1), "scheduler", "cqueues", 0.42),
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
UNITS = {"accept-wasted": "in 100", "accept-most": "%", "memory-kernel": "bytes", "memory-own": "bytes",
         "calls": "calls", "instructions": "instr."}


# ---- the environment ----


def say(text):
    print(text, file=sys.stderr, flush=True)


class LeftOut(dict):
    """Reasons by what is left out; each is told once, at once."""

    def add(self, what, why):
        if what not in self:
            self[what] = why
            say(f"left out: {what}: {why}")


def make_environment(left_out):
    """The Python that has what requirements.txt lists, as far as it can be had."""
    directory = BUILD / f"bench-env-{platform.python_version()}"
    python = directory / "bin/python"
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary", ":all:", "--timeout", "15"]
    try:
        if not python.exists():
            say(f"making {directory.relative_to(ROOT)}")
            subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", directory], check=True, timeout=120,
                           capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        left_out.add("what is from PyPI", f"no environment for it: {error}")
        return sys.executable
    for line in (ROOT / "bench/requirements.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        if line.startswith("#") or version in subprocess.run(
                [python, "-c", f"from importlib.metadata import version; print(version('{name}'))"], capture_output=True,
                text=True).stdout.split():
            continue
        say(f"installing {line}")
        done = subprocess.run([*pip, line], capture_output=True, text=True)
        if done.returncode:
            left_out.add(line, (done.stderr.strip().splitlines() or ["pip failed"])[-1])
    return str(python)


def first_line(*command):
    try:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=20)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.SubprocessError):
        return "none"


def describe_machine(python):
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    peers = {name: first_line(python, "-c", f"from importlib.metadata import version; print(version('{name}'))")
             for name in ("uvloop", "rloop", "liburing")}
    debian = first_line("dpkg-query", "-W", "-f=${Package} ${Version}, ", "libev-dev", "libuv1-dev", "lua-luv",
                        "lua-cqueues", "lua-socket").rstrip(", ")
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "commit": first_line("git", "-C", ROOT, "describe", "--always", "--dirty"),
        "kernel": platform.release(),
        "cpu": f"{os.cpu_count()} x {cpu[1] if cpu else platform.machine()}",
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "lua": first_line(LUA, "-v").split("  ")[0],
        "compiler": first_line(os.environ.get("CC", "cc"), "--version"),
        "liburing": first_line("pkg-config", "--modversion", "liburing"),
        "peers": {**{name: version if version[:1].isdigit() else "none" for name, version in peers.items()},
                  "Debian": debian},
    }


# ---- measuring ----


class Figures:
    """All of them, by workload, N, K and name: a list of (minimum, median), one a run."""

    def __init__(self):
        self.runs = defaultdict(list)
        self.left_out = LeftOut()

    def run(self, command, timeout, parse=None):
        environment = {**os.environ, "PYTHONPATH": str(BUILD / "python"), "LUA_CPATH_5_4": f"{BUILD}/lua/?.so;;"}
        title = " ".join(Path(word).name if "/" in word else word for word in map(str, command))
        try:
            done = subprocess.run([*map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True,
                                  timeout=timeout)
        except (OSError, subprocess.TimeoutExpired) as error:
            return self.left_out.add(title, str(error))
        for line in done.stderr.splitlines():
            if line.startswith("left out: "):
                self.left_out.add(*line[10:].split(": ", 1))
        if done.returncode:
            self.left_out.add(title, (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
            return
        for workload, name, count, ready, least, median in (parse or parse_lines)(done.stdout):
            self.runs[workload, count, ready, name].append((least, median))


def parse_lines(text):
    for line in text.splitlines():
        workload, name, count, ready, least, *median = line.split()
        yield workload, name, int(count), int(ready), float(least), float(median[0] if median else least)


def parse_loops(text):
    """The table of asyncio_loops.py."""
    names = []
    for line in text.splitlines():
        if "of asyncio's" in line:
            names = line.split("of asyncio's")[0].split()
        elif names:
            for name, figure in zip(names, line[28:].split()):
                yield f"asyncio: {line[:28].strip()}", name, 0, 0, float(figure), float(figure)


def count_calls(figures, python):
    """System calls an event, as strace counts them."""
    if not shutil.which("strace"):
        return figures.left_out.add("system calls an event", "strace is not installed")
    waits = "trace=io_uring_enter,epoll_wait,epoll_pwait,epoll_pwait2,poll,ppoll,select,pselect6"
    report = BUILD / "bench/strace.txt"
    commands = {"c": [BUILD / "bench/bench", "collect"], "python": [python, "bench/collect.py", "collect"],
                "lua": [LUA, "bench/collect.lua"]}
    contestants = {"c": ["pollring", "liburing", "epoll", "poll"], "python": ["wait", "epoll"], "lua": ["pollring", "luv"]}
    for language, names in contestants.items():
        for name in names:
            for count, ready in (1, 1), (1000, 100):
                rounds, turns = 20, 16 if language == "lua" else 1
                command = [*commands[language], count, ready, rounds, name]
                figures.run(["strace", "-f", "-c", "-o", report, "-e", waits, *command], 60, lambda text: ())
                calls = sum(int(line.split()[3]) for line in report.read_text().splitlines()[2:-2]) if report.exists() else 0
                each = calls / (rounds * turns * ready)
                figures.runs["calls", count, ready, f"{language}-{name}"].append((each, each))
                report.unlink(missing_ok=True)


def count_instructions(figures):
    if why := instructions.why_not():
        return figures.left_out.add("instructions an event", why)
    for case in instructions.CASES:
        language, what, size = case.split(", ")
        ready, count = map(int, size.split(" of "))
        try:
            each = instructions.count(case)
            figures.runs["instructions", count, ready, f"{language.lower()}-{what}"].append((each, each))
        except (RuntimeError, subprocess.SubprocessError) as error:
            figures.left_out.add(case, str(error))


def plan(python):
    """The commands of one repeat, and how each one's lines are read."""
    programs = {"c": [BUILD / "bench/bench", "collect"], "python": [python, "bench/collect.py", "collect"],
                "lua": [LUA, "bench/collect.lua"]}
    for language, program in programs.items():
        for count, ready in SIZES if language == "c" else [(1, 1), (100, 10), (1000, 100)]:
            if QUICK and (count, ready) not in [(1, 1), (1000, 100)]:
                continue
            rounds = min(MOST_ROUNDS[language], ROUNDS[language] / (count + 20 * ready)) / (10 if QUICK else 1)
            yield [*program, count, ready, max(40 if language != "lua" else 2, int(rounds))], None
    yield [BUILD / "bench/bench", "cold", 1000, 100, 40 if QUICK else 400], None
    yield [python, "bench/collect.py", "cold", 1000, 100, 20 if QUICK else 200], None
    yield [BUILD / "bench/bench", "arm", 10000, 1 if QUICK else 4], None
    yield [BUILD / "bench/bench", "wakeup", 2000 if QUICK else 20000], None
    yield [BUILD / "bench/bench", "accept", 4, 400 if QUICK else 4000], None
    yield [python, "bench/collect.py", "import", 3 if QUICK else 10], None
    yield [python, "bench/asyncio_loops.py", "-n", 1 if QUICK else 2], parse_loops
    for task in [("events", 1, 1), ("events", 1000, 100), ("pingpong", 1, 1), ("sockets", 1, 1), ("sleep0", 1, 1),
                 ("sleepers", 1000, 20), ("echo", 50, 100)]:
        if not QUICK:
            yield [LUA, "bench/scheduler.lua", *task], None


def measure():
    figures, started = Figures(), time.monotonic()
    python = make_environment(figures.left_out)
    commands = [*plan(python)] * REPEATS
    for number, (command, parse) in enumerate(commands, 1):
        seconds = time.monotonic() - started
        title = " ".join(str(word).replace(f"{ROOT}/", "") for word in command)
        say(f"[{number}/{len(commands)}, {seconds:.0f} s] {title}")
        if seconds > SECONDS:
            figures.left_out.add("the rest", f"{SECONDS} seconds were over")
            break
        figures.run(command, SECONDS - seconds + 30, parse)
    if not QUICK and time.monotonic() - started < SECONDS:
        say("counting system calls and instructions")
        count_calls(figures, python)
        count_instructions(figures)
    return figures, python


# ---- what it says ----


def ours_of(workload, names):
    ours = OURS.get(workload.split(":")[0]) or OURS.get(workload)
    return ours or ("scheduler" if "scheduler" in names else "pollring")


def ratio(figures, workload, size, ours, theirs, of="minimum"):
    """The ratio of the best minima (or the best medians), that of the medians of all, and the noise: half of what it differs
    by between runs. None: not measured. What add_reader's callbacks cost above their recv is a difference, and the least of
    several is the luckiest: there the medians count."""
    left, right = figures.runs.get((workload, *size, ours)), figures.runs.get((workload, *size, theirs))
    if not left or not right or not all(map(all, right)):
        return None
    index = 0 if of == "minimum" else 1
    of_runs = [one[index] / other[index] for one, other in zip(left, right) if other[index]]
    medians = statistics.median(one[1] for one in left) / statistics.median(other[1] for other in right)
    best = min(one[index] for one in left) / min(other[index] for other in right)
    if workload.startswith("asyncio: add_reader"):
        best = medians
    noise = (max(of_runs) - min(of_runs)) / 2 if len(of_runs) > 1 else None
    return {"workload": workload, "N": size[0], "K": size[1], "ours": ours, "theirs": theirs, "ratio": round(best, 3),
            "of_medians": round(medians, 3), "noise": None if noise is None else round(noise, 3)}


def judge(found, limit):
    """Whether a target is met, and whether that is more than noise."""
    found["target"], margin = limit, abs(found["ratio"] - limit)
    found["met"] = found["ratio"] <= limit
    found["certain"] = found["noise"] is not None and found["noise"] < margin
    return found


def targets_of_loops():
    """Those that asyncio_loops.py states."""
    return [(f"asyncio: {name}", (0, 0), "pollring", theirs, limit)
            for name, (_, *limits) in asyncio_loops.WORKLOADS.items()
            for theirs, limit in zip(("uvloop", "asyncio"), limits) if limit]


def all_ratios(figures):
    ratios = []
    targets = {(workload, size, ours, theirs): rest for workload, size, ours, theirs, *rest
               in [*TARGETS, *targets_of_loops()]}
    for workload, count, ready in dict.fromkeys(key[:3] for key in figures.runs):
        names = [key[3] for key in figures.runs if key[:3] == (workload, count, ready)]
        ours = ours_of(workload, names)
        for theirs in names if ours in names else ():
            if theirs not in MINE and workload != "memory-own":
                targets.setdefault((workload, (count, ready), ours, theirs), [])
    for (workload, size, ours, theirs), (*rest,) in targets.items():
        limit, of = (rest + [None, "minimum"])[0] if rest else None, rest[1] if len(rest) > 1 else "minimum"
        if found := ratio(figures, workload, size, ours, theirs, of):
            ratios.append(judge(found, limit) if limit else found)
    return ratios


def flatness(figures):
    """An event of many files beside one of few, as many being ready."""
    many, few = figures.runs.get(("c", 19000, 19, "pollring")), figures.runs.get(("c", 100, 19, "pollring"))
    if not many or not few:
        return []
    of_runs = [one[0] / other[0] for one, other in zip(many, few)]
    noise = round((max(of_runs) - min(of_runs)) / 2, 3) if len(of_runs) > 1 else None
    return [judge({"workload": "c", "N": 19000, "K": 19, "ours": "pollring", "theirs": "pollring of 100 files",
                   "ratio": round(min(one[0] for one in many) / min(other[0] for other in few), 3),
                   "of_medians": round(statistics.median(one[1] for one in many)
                                       / statistics.median(other[1] for other in few), 3), "noise": noise}, 1.2)]


def import_target(figures):
    """At most 1.5 times what `import select` takes, and 2 ms."""
    best = {key[3]: min(run[0] for run in runs) for key, runs in figures.runs.items() if key[0] == "import"}
    if "pollring" not in best:
        return ""
    most = 1.5 * best["select"] + 2e6
    return (f"import pollring takes {best['pollring'] / 1e6:.1f} ms with its Python's start, import select "
            f"{best['select'] / 1e6:.1f} ms: at most {most / 1e6:.1f} {'yes' if best['pollring'] <= most else 'NO'}")


def size_text(entry):
    return f"{entry['K']} of {entry['N']}" if entry["K"] else str(entry["N"] or "")


def share_text(found):
    noise = "" if found["noise"] is None else f"+-{found['noise']:.2f}"
    return f"{found['ratio']:4.2f} {noise:7}"


def verdict(found):
    text = f"at most {found['target']}: {'yes' if found['met'] else 'NO'}"
    return text + ("" if found["certain"] else ", one run only" if found["noise"] is None else ", within the noise")


def as_text(machine, figures, ratios, left_out, import_text):
    lines = [f"pollring {machine['commit']}, {machine['date']}{', QUICK: rough figures' if QUICK else ''}",
             f"Linux {machine['kernel']}, {machine['cpu']}, load {machine['load']}; Python {machine['python']}, "
             f"{machine['lua']}, {machine['compiler']}, liburing {machine['liburing']}",
             "; ".join(f"{name} {version}" for name, version in machine["peers"].items()), "",
             f"nanoseconds an operation where no unit stands; the minimum and the median of {REPEATS} runs' own", "",
             "ours: its minimum as a share of this one's, and half of what that differs by between runs", "",
             f"{'workload':38}{'K of N':>13}  {'':15}{'minimum':>12}{'median':>12}  ours"]
    shares = {(found["workload"], found["N"], found["K"], found["theirs"]): found for found in ratios
              if found["ours"] not in ("pinned", "iterator")}
    for entry in figures:
        digits = 2 if entry["unit"] == "calls" else 1
        share = shares.get((entry["workload"], entry["N"], entry["K"], entry["name"]))
        lines.append(f"{entry['workload']:38}{size_text(entry):>13}  {entry['name']:15}{entry['minimum']:12.{digits}f}"
                     f"{entry['median']:12.{digits}f}  {share_text(share) if share else ''}"
                     f"{'' if entry['unit'] == 'ns' else entry['unit']}".rstrip())
    lines += ["", "targets", ""]
    for found in ratios:
        if "target" in found:
            lines.append(f"{found['workload']:38}{size_text(found):>13}  {found['ours'] + ' / ' + found['theirs']:34}"
                         f"{share_text(found)} {verdict(found)}")
    lines += ["", import_text, *(f"left out: {what}: {why}" for what, why in left_out.items()), ""]
    return "\n".join(lines)


def write(figures, python):
    machine = describe_machine(python)
    entries = [{"workload": workload, "name": name, "N": count, "K": ready, "unit": UNITS.get(workload, "ns"),
                "minimum": round(min(run[0] for run in runs), 2),
                "median": round(statistics.median(run[1] for run in runs), 2)}
               for (workload, count, ready, name), runs in figures.runs.items()]
    ratios = flatness(figures) + all_ratios(figures)
    text = as_text(machine, entries, ratios, figures.left_out, import_target(figures))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / ("quick" if QUICK else "latest")
    rows = lambda key, table: f' "{key}": [\n  ' + ",\n  ".join(map(json.dumps, table)) + "\n ]"  # noqa: E731
    path.with_suffix(".json").write_text("{\n" + ",\n".join(
        [f' "machine": {json.dumps(machine)}', f' "quick": {json.dumps(QUICK)}', f' "runs": {REPEATS}',
         rows("figures", entries), rows("ratios", ratios), f' "left_out": {json.dumps(figures.left_out)}']) + "\n}\n")
    done = subprocess.run([python, ROOT / "bench/plot.py", path.with_suffix(".json"), path.with_suffix(".svg")],
                          capture_output=True, text=True)
    if done.returncode:
        why = f"left out: the plot: {(done.stderr.strip().splitlines() or ['failed'])[-1]}\n"
        say(why)
        text += why
    path.with_suffix(".txt").write_text(text)
    if not QUICK:
        readme.main()
    print(text)
    say(f"written: {path.relative_to(ROOT)}.txt, .json, .svg")


if __name__ == "__main__":
    write(*measure())
