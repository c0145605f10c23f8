"""Measure what an event costs on this machine: select.epoll and pollring.

N files of which K are ready, collected by turns; the time of the collection
alone, the minimum of all rounds, in nanoseconds an event. It takes about three
seconds. On a busy machine give it more.

Examples:
  pollring bench
  pollring bench --for 2
  pollring bench --svg cost.svg
"""

import argparse
import json
import os
import platform
import resource
import select
import struct
import time
from contextlib import ExitStack
from html import escape
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import pollring

from . import linux
from .terminal import print_table, progress
from .words import example_within, parse_seconds

SIZES = [(1, 1), (10, 10), (100, 100), (1000, 100), (4000, 100)]
BAR = 40  # characters


class Figure(NamedTuple):
    files: int
    ready: int
    nanoseconds: Dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--for", metavar="SECONDS", dest="seconds", default="0.5",
                        help="measure each size for so long (default: 0.5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--svg", metavar="FILE", help="draw the figures into a picture")


def run(arguments: argparse.Namespace) -> int:
    with example_within("pollring bench --for {}"):
        seconds = parse_seconds(arguments.seconds)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        sizes = [size for size in SIZES if 2 * size[0] + 64 < hard]
        with progress("measuring", len(sizes), seconds * len(sizes)) as advance:
            figures = []
            for files, ready in sizes:
                figures.append(measure(files, ready, seconds))
                advance()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    machine = f"Linux {os.uname().release}, {os.cpu_count()} processors, Python {platform.python_version()}"
    if arguments.json:
        print(json.dumps({"kernel": os.uname().release, "processors": os.cpu_count(),
                          "python": platform.python_version(), "figures": [
                              {**figure._asdict(), "nanoseconds": figure.nanoseconds} for figure in figures]}))
    else:
        print_table(["files", "ready", "", "", "ns an event"], bars(figures), machine)
        if len(sizes) < len(SIZES):
            print(f"Sizes that need more than {hard} files are left out: see `ulimit -Hn`.")
    if arguments.svg:
        with open(arguments.svg, "w", encoding="utf-8") as file:
            file.write(svg(figures, machine))
    return 0


def measure(files: int, ready: int, seconds: float) -> Figure:
    """Interleaved rounds for so long, at least three; the minimum of each contestant."""
    with ExitStack() as stack:
        fds = []
        for _ in range(2 * files):
            fds.append(linux.eventfd())
            stack.callback(os.close, fds[-1])
        ring = stack.enter_context(pollring.Ring())
        epoll = stack.enter_context(select.epoll())
        for fd in fds[:files]:
            epoll.register(fd, select.EPOLLIN)
        for fd in fds[files:]:
            ring.poll_add(fd)
        ring.submit()
        contestants: Dict[str, Tuple[List[int], Callable[[], List[Any]]]] = {
            "select.epoll": (fds[:files], lambda: epoll.poll(1, files)),
            f"pollring, {ring.backend}": (fds[files:], lambda: ring.wait(1)),
        }
        best = dict.fromkeys(contestants, float("inf"))
        deadline, done = time.monotonic() + seconds, 0
        while done < 3 or time.monotonic() < deadline:
            for name, (its, collect) in contestants.items():
                chosen = [its[(done + 7 * number) % files] for number in range(ready)]
                for fd in chosen:
                    os.write(fd, _ONE)
                started = time.perf_counter_ns()
                collect()
                best[name] = min(best[name], (time.perf_counter_ns() - started) / ready)
                for fd in chosen:
                    os.read(fd, 8)
            done += 1
    return Figure(files, ready, {name: round(value, 1) for name, value in best.items()})


_ONE = struct.pack("@Q", 1)


def _most(figures: List[Figure]) -> float:
    return max(value for figure in figures for value in figure.nanoseconds.values())


def bars(figures: List[Figure]) -> List[List[str]]:
    """Rows of a table: a bar each, all on one scale from zero."""
    rows = []
    for figure in figures:
        sizes = [str(figure.files), str(figure.ready)]
        for name, value in figure.nanoseconds.items():
            rows.append([*sizes, name, "█" * max(1, round(BAR * value / _most(figures))), f"{value:11.0f}"])
            sizes = ["", ""]
    return rows


def svg(figures: List[Figure], title: str) -> str:
    """The same as a picture: epoll's bars are hatched, pollring's are filled."""
    parts, y = [], 54
    for figure in figures:
        parts.append(f'<text x="10" y="{y + 21}">{figure.ready} of {figure.files} ready</text>')
        for (name, value), fill in zip(figure.nanoseconds.items(), ("url(#hatched)", "#1c5bb0")):
            width = max(1.0, 420 * value / _most(figures))
            parts.append(f'<rect x="160" y="{y}" width="{width:.1f}" height="14" fill="{fill}" stroke="#111"/>'
                         f'<text x="{166 + width:.1f}" y="{y + 11}" font-size="11">{escape(name)}: {value:.0f}</text>')
            y += 17
        y += 12
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="780" height="{y}" viewBox="0 0 780 {y}" '
            'font-family="ui-monospace, DejaVu Sans Mono, monospace" font-size="12" fill="#111" role="img">\n'
            '<defs><pattern id="hatched" width="6" height="6" patternUnits="userSpaceOnUse">'
            '<rect width="6" height="6" fill="#fff"/><path d="M0 6L6 0" stroke="#111"/></pattern></defs>\n'
            f'<rect width="100%" height="100%" fill="#fff"/>\n<text x="10" y="22" font-size="14" font-weight="bold">'
            f'Nanoseconds an event</text>\n<text x="10" y="40" font-size="11">{escape(title)}</text>\n'
            + "\n".join(parts) + "\n</svg>\n")
