#!/usr/bin/env python3
"""Writes docs/kernels.md from what tests/kernels/run.py has left in build/kernels/: `make docs-kernels`."""

import json
import sys
from collections import Counter

from pollring.lab import rules
from run import OUTPUT, ROOT, count, left_out, numbers, read_outcomes, read_results, setup_that_stuck

HEAD = """# Kernel by kernel

Written by `make docs-kernels` from runs of `make test-kernels`, not by hand: Debian's kernels in qemu, with two
emulated processors, and the one of the machine that ran it. [kernel.md](kernel.md) has the rules in words,
[kernel-reports](kernel-reports/README.md) what looks like bugs. What pollring does about each difference is told in
`core/uring.c`; it is found by trying, and never taken from the version. In qemu the C tests take fewer kinds of rings,
and some tests in Python and Lua are left out for their time: `tests/kernels/run.py` has both.
"""


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def in_a_cell(results):
    counts = count(results)
    words = [f"{counts['passed']}", f"**{counts['failed']} failed**" if counts["failed"] else "",
             f"{counts['differs']} differ" if counts["differs"] else "",
             f"{counts['skipped']} skipped" if counts["skipped"] else ""]
    return ", ".join(word for word in words if word) if sum(counts.values()) else "-"


def suite_of(result):
    program = result["program"]
    return program if program in ("python", "lua") else "rules" if program == "pollring-rules" else "C"


def tests(runs):
    """A line for each kernel; under it what failed, and the reasons of what was skipped."""
    suites = ("C", "rules", "python", "lua")
    yield from ["", "## Tests that pass", ""]
    yield from table(["Linux", "set-up that sticks", *suites], (
        [name, f"`{setup_that_stuck(results)}`",
         *(in_a_cell([result for result in results if suite_of(result) == suite]) for suite in suites)]
        for name, results in runs.items()))
    skipped = {}
    for name, results in runs.items():
        for result in results:
            if result["outcome"] == "failed":
                yield f"\nFailed on {name}: {result['program']}: {result['test'] or result['reason']}"
            elif result["outcome"] == "skipped":
                skipped.setdefault(result["reason"], Counter())[name] += result.get("count", 1)
    yield from ["", "Skipped, because of:", ""]
    yield from table(["", *runs], ([reason, *(str(counts[name] or "-") for name in runs)]
                                   for reason, counts in sorted(skipped.items())))


def lacks(told):
    """What each kernel lacks, and what pollring does instead, in the words of its probe."""
    yield from ["", "## What pollring does instead", "", "As `pollring probe` tells on each:", ""]
    sentences = dict.fromkeys(sentence for of_kernel in told.values() for sentence in of_kernel)
    yield from table(["it lacks, and instead", *told], (
        [sentence, *("x" if sentence in of_kernel else "" for of_kernel in told.values())] for sentence in sentences))


def rules_that_differ(runs):
    """A part for each rule that is not the same on all kernels."""
    lacking = [rules.lacks(run) for run in runs]
    each = [rules.by_rule({"rules": [outcome for outcome in run["rules"] if outcome["setup"] not in without]})
            for run, without in zip(runs, lacking)]
    names = {name: first["rule"] for run in runs for name, (first, *_) in rules.by_rule(run).items()}
    different = {name: found for name in names if (found := rules.differences([one.get(name, []) for one in each]))}
    kernels = [run["kernel"] for run in runs]
    yield from ["", "## Rules that differ", ""]
    yield f"{len(names) - len(different)} of the {len(names)} rules that `pollring rules` tries are alike on all."
    for run, without in zip(kernels, lacking):
        if without:
            yield f"Linux {run} has no {' and no '.join(without)}."
    for name, found in different.items():
        yield from ["", f"### {names[name]}", "", f"`{name}`", ""]
        yield from table(["Linux", *(", ".join(setups) for setups in found.values())], (
            [kernel, *(sights[i] for sights in found)] for i, kernel in enumerate(kernels)))


def main():
    runs, tried, lacking = {}, [], {}
    for path in sorted(OUTPUT.glob("*.json"), key=lambda path: numbers(path.stem)):
        name = path.stem.split("-")[0]
        runs[name] = list(read_outcomes(path))
        if name == path.stem:  # of a machine; this one's release has more to its name
            runs[name] += left_out(("python", "lua"))
        lacking.update((name, result["lacks"]) for result in read_results(path) if "lacks" in result)
        told = path.with_name(f"{path.stem}.rules")
        if told.exists() and told.stat().st_size:
            tried.append({**json.loads(told.read_text()), "kernel": name})
    if not runs or not tried:
        sys.exit(f"{OUTPUT} has no results: make test-kernels")
    lines = [HEAD, *tests(runs), *lacks(lacking), *rules_that_differ(tried)]
    (ROOT / "docs/kernels.md").write_text("\n".join(lines).replace("\n\n\n", "\n\n") + "\n")


if __name__ == "__main__":
    main()
