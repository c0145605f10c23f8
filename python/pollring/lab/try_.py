"""Run the same steps against poll(2), epoll and POLL_ADD, side by side.

KIND is a kind of file. The steps are run once for each interface, each time
with a fresh file, and the table shows what each interface reported after each
step; below it is what its signs mean, and why a step failed. A comma stands
between several events of one step. Where a step is "collect", events are
collected there only; cells are blank where nothing was asked, or is armed yet.

KIND can be a file that --save wrote: its steps are run again, and the exit
status is 1 where the outcome differs.

Examples:
  pollring try pipe 'arm in, write 3, read 1, read all, close'
  pollring try pipe 'arm in, write 3, read all, collect'
  pollring try tcp 'arm in|out, write 3, shutdown' --save tcp.json
  pollring try tcp.json
"""

import argparse
import json
import os
import sys
from typing import List, Optional

from .interfaces import INTERFACES
from .kinds import KINDS
from .scenario import EXAMPLE, VERBS, Result, Scenario, load, read_saved
from .terminal import columns, print_legend, print_table, print_timeline, progress
from .timeline import Timeline
from .words import Mistake, example_within

EXIT_STATUS = {1: "something failed, or the outcome is other than the saved one",
               3: "io_uring is refused here, and its interfaces were left out"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = columns((name, kind.about) for name, kind in KINDS.items())
    steps = columns((f"{verb} {argument}".strip(), meaning) for verb, (argument, meaning) in VERBS.items())
    parser.description = "\n".join([parser.description or "", "Kinds:", *kinds, "", "Steps, with commas between them:",
                                    *steps])
    parser.add_argument("kind", metavar="KIND", help="a kind of file, or a saved scenario")
    parser.add_argument("steps", metavar="STEPS", nargs="?", help="what to do, in order")
    parser.add_argument("--save", metavar="FILE", help="save steps and outcome, to be run again")
    add_output_arguments(parser, "print the outcome as one JSON object")


def add_output_arguments(parser: argparse.ArgumentParser, json_help: str) -> None:
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--json", action="store_true", help=json_help)
    text.add_argument("--timeline", action="store_true", help="draw a timeline, as text")
    parser.add_argument("--svg", metavar="FILE", help="draw the timeline into a picture")
    parser.add_argument("--html", metavar="FILE", help="draw the timeline into a page that stands alone")


def draw(timeline: Timeline, arguments: argparse.Namespace) -> None:
    """The pictures that add_output_arguments() offers."""
    if arguments.timeline:
        print_timeline(timeline)
    for path, text in ((arguments.svg, timeline.svg), (arguments.html, timeline.html)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text())


def run(arguments: argparse.Namespace) -> int:
    saved = None
    path = arguments.save
    if path and os.path.isfile(path) and os.path.getsize(path) and read_saved(path) is None:
        raise Mistake(f"--save replaces saved scenarios only, and {path} is something else",
                      f"pollring try pipe '{EXAMPLE}' --save pipe.json")
    if arguments.steps is None and arguments.kind not in KINDS:
        try:
            saved = load(arguments.kind)
        except (FileNotFoundError, IsADirectoryError):
            raise Mistake(f"{arguments.kind!r} is neither a kind of file ({', '.join(KINDS)}) nor a saved scenario",
                          f"pollring try pipe '{EXAMPLE}'") from None
    with example_within(f"pollring try {arguments.kind if arguments.kind in KINDS else 'pipe'} '{{}}'"):
        scenario = Scenario(saved["kind"], saved["steps"]) if saved else Scenario(arguments.kind, arguments.steps or "")
    if not scenario.steps:
        raise Mistake(f"{arguments.kind} needs steps", f"pollring try {arguments.kind} 'arm in, write 3'")
    sleeps = len(INTERFACES) * sum(step.argument for step in scenario.steps if step.verb == "sleep")
    with progress("running", len(INTERFACES), sleeps) as advance:
        result = scenario.run(advance)
    show(result, arguments)
    differences = result.differences(saved) if saved else None
    return conclude(result, differences)


def tell_absent(result: Result) -> None:
    """On stderr: what could not be run here, and why."""
    for why in sorted(set(result.absent.values())):
        names = ", ".join(name for name in result.absent if result.absent[name] == why)
        print(f"{names}: {why}", file=sys.stderr)


def show(result: Result, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(result.as_json()))
    else:
        print_table(["", *INTERFACES], result.table())
        print_legend(result.legend())
    draw(result.timeline(), arguments)
    if arguments.save:
        result.save(arguments.save)


def conclude(result: Result, differences: Optional[List[str]]) -> int:
    """Tells on stderr what differs from the saved outcome and what could not be run; returns the exit status."""
    tell_absent(result)
    for line in differences or ():
        print(f"differs: {line}", file=sys.stderr)
    if differences:
        return 1
    if result.absent:
        return 3
    if differences is not None:
        print("as saved", file=sys.stderr)
    return 0
