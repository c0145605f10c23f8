"""Try the kernel's rules of multishot poll here, and compare kernels.

A rule is a sentence of the kernel commit that brought multishot poll, or what
was measured since. Each is run on every set-up of a ring that this kernel has.
With --compare, runs of several kernels are shown side by side; of one FILE, it
and this kernel.

Examples:
  pollring rules
  pollring rules --json > here.json
  pollring rules --compare debian12.json debian13.json
"""

import argparse
import json
import os
import sys
import textwrap
from collections import Counter
from typing import Any, Dict, List, Set, Tuple

from .. import _rules
from .terminal import print_table, progress, width
from .words import Mistake

EXIT_STATUS = {1: "something failed, or a rule differs", 3: "no rule could be tried: io_uring is refused here"}
Run = Dict[str, Any]  # what --json prints: the kernel, and an outcome for each rule on each set-up
Outcome = Dict[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print one JSON object, for --compare")
    how.add_argument("--compare", metavar="FILE", nargs="+", help="show what --json printed on other kernels")
    how.add_argument("-v", "--verbose", action="store_true", help="show what was expected and seen of every rule")


def run(arguments: argparse.Namespace) -> int:
    if arguments.compare:
        runs = [load(name) for name in arguments.compare]
        return compare(runs if len(runs) > 1 else [*runs, try_all()])
    tried = try_all()
    if arguments.json:
        lines = ",\n".join(json.dumps(outcome) for outcome in tried["rules"])
        print(f'{{"kernel": {json.dumps(tried["kernel"])}, "rules": [\n{lines}\n]}}')
    else:
        show(tried, arguments.verbose)
    verdicts = {outcome["verdict"] for outcome in tried["rules"]}
    return 1 if "differs" in verdicts else 0 if "ok" in verdicts else 3


def try_all() -> Run:
    outcomes = []
    with progress("trying rules", _rules.count()) as advance:
        for number in range(_rules.count()):
            outcomes.append(json.loads(_rules.run(number)))
            advance()
    return {"kernel": os.uname().release, "rules": outcomes}


def load(name: str) -> Run:
    with open(name, encoding="utf-8") as file:
        try:
            loaded: Run = json.load(file)
            by_rule(loaded)
            return {"kernel": str(loaded["kernel"]), "rules": loaded["rules"]}
        except (ValueError, TypeError, KeyError):
            raise Mistake(f"{name} is not what `pollring rules --json` prints",
                          "pollring rules --json > here.json") from None


def by_rule(tried: Run) -> Dict[str, List[Outcome]]:
    """The outcomes of each rule, one a set-up."""
    rules: Dict[str, List[Outcome]] = {}
    for outcome in tried["rules"]:
        if not all(isinstance(outcome[key], str) for key in ("group", "rule", "setup", "verdict", "expected", "seen")):
            raise TypeError
        rules.setdefault(outcome["name"], []).append(outcome)
    return rules


def verdict(outcomes: List[Outcome]) -> str:
    """Of all set-ups: ok, if it is on those that this kernel has."""
    verdicts = {outcome["verdict"] for outcome in outcomes}
    return next(word for word in ("differs", "ok", "skipped", *verdicts) if word in verdicts)


def print_grouped(head: Tuple[str, ...], groups: Dict[str, List[Tuple[str, ...]]]) -> None:
    """Lines are a rule and its verdicts. On a terminal the rules are wrapped."""
    taken = 4 + sum(max(len(title), len("≠ differs")) + 3 for title in head[1:])
    room = max(30, width() - taken) if sys.stdout.isatty() else 1000
    rows: List[Tuple[str, ...]] = []
    for group, lines in groups.items():
        rows += [(), (group, *[""] * (len(head) - 1))]
        for rule, *verdicts in lines:
            first, *rest = textwrap.wrap(rule, room, initial_indent="  ", subsequent_indent="    ")
            rows += [(first, *verdicts), *((part, *[""] * len(verdicts)) for part in rest)]
    print_table(head, rows[1:])


def with_setups(outcomes: List[Outcome]) -> Dict[Tuple[str, str], List[str]]:
    """What was expected and seen, and the set-ups that agree in that."""
    alike: Dict[Tuple[str, str], List[str]] = {}
    for outcome in outcomes:
        alike.setdefault((outcome["expected"], outcome["seen"]), []).append(outcome["setup"])
    return alike


def show(tried: Run, verbose: bool) -> None:
    rules = by_rule(tried)
    groups: Dict[str, List[Tuple[str, ...]]] = {}
    for outcomes in rules.values():
        word = verdict(outcomes)
        groups.setdefault(outcomes[0]["group"], []).append(
            (outcomes[0]["rule"], f"≠ {word}" if word == "differs" else word))
    print_grouped((f"Linux {tried['kernel']}", "verdict"), groups)
    for outcomes in rules.values():
        if verbose or verdict(outcomes) == "differs":
            explain(outcomes if verbose else [outcome for outcome in outcomes if outcome["verdict"] == "differs"])
    counts = Counter(map(verdict, rules.values()))
    print("", ", ".join(f"{counts[word]} {word}" for word in ("ok", "differs", "skipped") if counts[word]), sep="\n")
    for (setup, why), count in Counter((outcome["setup"], outcome["seen"]) for outcome in tried["rules"]
                                       if outcome["verdict"] == "skipped").items():
        print(f"skipped {count} on {setup}: {why}")


def explain(outcomes: List[Outcome]) -> None:
    print(f"\n{outcomes[0]['rule']}\n  {outcomes[0]['name']}; {outcomes[0]['source']}")
    for (expected, seen), setups in with_setups(outcomes).items():
        print(f"  on {', '.join(setups)}")
        print(f"    expected  {expected}\n    seen      {seen}" if expected else f"    skipped: {seen}")


# ---- several kernels ----

def compare(runs: List[Run]) -> int:
    """Returns 1 where a rule had other outcomes. A set-up that a kernel lacks is left out, and told."""
    kernels = [tried["kernel"] for tried in runs]
    lacking = [lacks(tried) for tried in runs]
    rules = [by_rule({"rules": [outcome for outcome in tried["rules"] if outcome["setup"] not in without]})
             for tried, without in zip(runs, lacking)]
    groups: Dict[str, List[Tuple[str, ...]]] = {}
    different = []
    for name, (first, *_) in {name: outcomes for tried in runs for name, outcomes in by_rule(tried).items()}.items():
        each = [of_run.get(name, []) for of_run in rules]
        found = differences(each)
        if found:
            different.append((first["rule"], found))
        groups.setdefault(first["group"], []).append(
            (first["rule"], *("≠ " * bool(found) + verdict(outcomes) if outcomes else "-" for outcomes in each)))
    print_grouped(("", *(f"Linux {kernel}" for kernel in kernels)), groups)
    for rule, found in different:
        print(f"\n{rule}")
        for sights, setups in found.items():
            print(f"  on {', '.join(setups)}")
            for kernel, sight in zip(kernels, sights):
                print(f"    {kernel}  {sight}")
    print("", f"{sum(map(len, groups.values())) - len(different)} rules alike, {len(different)} different", sep="\n")
    for kernel, without in zip(kernels, lacking):
        for setup, why in without.items():
            print(f"Linux {kernel} has no {setup}: {why}")
    return 1 if different else 0


def lacks(tried: Run) -> Dict[str, str]:
    """The set-ups on which all was skipped for the same reason, and the reason."""
    setups: Dict[str, Set[Tuple[str, str]]] = {}
    for outcome in tried["rules"]:
        setups.setdefault(outcome["setup"], set()).add((outcome["verdict"], outcome["seen"]))
    sole = {setup: next(iter(sights)) for setup, sights in setups.items() if len(sights) == 1}
    return {setup: seen for setup, (word, seen) in sole.items() if word == "skipped"}


def differences(each: List[List[Outcome]]) -> Dict[Tuple[str, ...], List[str]]:
    """What each kernel saw, if that is not the same, and the set-ups with the same difference."""
    by_setup = [{outcome["setup"]: f"{outcome['verdict']}: {outcome['seen']}" for outcome in outcomes}
                for outcomes in each]
    found: Dict[Tuple[str, ...], List[str]] = {}
    for setup in dict.fromkeys(setup for of_run in by_setup for setup in of_run):
        if len({of_run[setup] for of_run in by_setup if setup in of_run}) > 1:
            found.setdefault(tuple(of_run.get(setup, "-") for of_run in by_setup), []).append(setup)
    return found
