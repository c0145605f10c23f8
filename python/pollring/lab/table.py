"""Show what each interface reports, for each kind of file in each situation.

Every cell is run on this machine, now, as `pollring try` does; KIND...
restricts it to some kinds. The page that --html writes explains itself, and
needs no network.

Examples:
  pollring table
  pollring table tcp socketpair
  pollring table --html poll.html
"""

import argparse
import json
from html import escape
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .kinds import KINDS
from .page import page
from .scenario import SIGNS, Cell, Result, Scenario, legend
from .terminal import console, print_legend, print_table, progress
from .try_ import tell_absent
from .words import Mistake

EXIT_STATUS = {3: "io_uring is refused here, and its interfaces were left out"}
SITUATIONS = {
    "armed when ready": "write, arm in",
    "written": "arm in, write",
    "written twice": "arm in, write, write",
    "partly read": "arm in, write 3, read 1",
    "read before asked": "arm in, collect, write, read all, collect",
    "peer half-closed": "arm in, shutdown",
    "peer gone": "arm in, close",
    "error": "arm in, reset",
}
#: Where a situation takes other steps, or makes no sense (None) though the steps are there.
_OTHERWISE: Dict[Tuple[str, str], Optional[str]] = {
    ("pipe-writer", "armed when ready"): "arm out",
    ("pipe-writer", "error"): "arm out, close",
    ("pipe-writer", "peer gone"): None,  # the same
    ("pidfd", "written twice"): None,
    ("timerfd", "partly read"): None,
}

INTERFACES = {
    "poll(2)": "The program asks each time, and is told the state: every file that is ready now.",
    "epoll level": "The files are registered once; each question is answered with the state, as by poll(2).",
    "epoll edge": "Registered once; a question is answered with what has happened since the last one. A file that "
                  "stays ready is not mentioned again.",
    "POLL_ADD once": "A request to io_uring, which posts one answer by itself and has ended.",
    "POLL_ADD multishot": "A request to io_uring that stays. It answers at once if the file is ready when it is armed; "
                          "after that, every time something happens, until it is cancelled or fails.",
}
WORDS = {
    "IN, OUT": "it can be read, it can be written", "HUP": "the other end is gone",
    "RDHUP": "the other end of a socket will send no more", "ERR": "an error waits there",
    "EPERM": "the kernel refuses to watch such a file", "refused": "there is no io_uring on this machine", **SIGNS,
}


class Row(NamedTuple):
    kind: str
    situation: str
    result: Result
    cells: Dict[str, Cell]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kinds", metavar="KIND", nargs="*", help="kinds of files; all where none is named")
    parser.add_argument("--json", action="store_true", help="print a JSON array, an object a row")
    parser.add_argument("--html", metavar="FILE", help="write a page that stands alone, instead")


def run(arguments: argparse.Namespace) -> int:
    for kind in arguments.kinds:
        if kind not in KINDS:
            raise Mistake(f"{kind!r} is no kind of file; they are {', '.join(KINDS)}", "pollring table pipe")
    planned = list(plan(arguments.kinds or list(KINDS)))
    rows = []
    with progress("running", len(planned)) as advance:
        for kind, situation, steps in planned:
            rows.append(make_row(kind, situation, steps))
            advance()
    if arguments.html:
        with open(arguments.html, "w", encoding="utf-8") as file:
            file.write(html(rows))
    elif arguments.json:
        print(json.dumps([as_json(row) for row in rows]))
    else:
        show(rows)
    tell_absent(rows[0].result)
    return 3 if rows[0].result.absent else 0


def plan(kinds: List[str]) -> Iterator[Tuple[str, str, str]]:
    """The kind, situation and steps of each row that makes sense."""
    for kind in kinds:
        for situation, usual in SITUATIONS.items():
            steps = _OTHERWISE.get((kind, situation), usual)
            if steps is None:
                continue
            try:
                Scenario(kind, steps)
            except Mistake:
                continue
            yield kind, situation, steps


def make_row(kind: str, situation: str, steps: str) -> Row:
    """Runs it. What counts is the last step; but where arming failed, that."""
    result = Scenario(kind, steps).run()
    cells = {}
    for name in result.interfaces:
        refused = [cell for step, row in zip(result.steps, result.rows)
                   if (cell := row.get(name)) and step.verb == "arm" and cell.error]
        cells[name] = refused[0] if refused else result.rows[-1][name] or Cell([])
    return Row(kind, situation, result, cells)


def cell_text(row: Row, name: str) -> str:
    cell = row.cells.get(name)
    if not cell:
        return "refused"
    return ("≠ " if cell.differs(row.cells["poll(2)"]) else "") + str(cell)


def as_json(row: Row) -> Dict[str, Any]:
    return {"kind": row.kind, "situation": row.situation, "steps": [str(step) for step in row.result.steps],
            "reports": {name: cell.as_json() for name, cell in row.cells.items()}}


def show(rows: List[Row]) -> None:
    """In sections with headings and a legend on a terminal; elsewhere each line has its kind, for grep."""
    if not console():
        print_table(["kind", "situation", *INTERFACES],
                    [[row.kind, row.situation, *(cell_text(row, name) for name in INTERFACES)] for row in rows])
        return
    lines: List[List[str]] = []
    for number, row in enumerate(rows):
        if not number or row.kind != rows[number - 1].kind:
            lines += [[], [row.kind.upper(), *([""] * len(INTERFACES))]]
        lines.append([row.situation, *(cell_text(row, name) for name in INTERFACES)])
    print_table(["", *INTERFACES], lines[1:])
    print_legend(legend(cell for line in lines for cell in line[1:]))


# ---- the page ----


def html(rows: List[Row]) -> str:
    kinds = list(dict.fromkeys(row.kind for row in rows))
    picture = Scenario("pipe", "arm in, write 3, write 2, read 1, read all, close").run().timeline()
    parts = [
        "<p>A program that waits for many files at once, connections or pipes for example, has the kernel tell which "
        "of them are ready. Linux has five ways to do that, and they answer differently. Each cell below was run on "
        f"Linux {escape(rows[0].result.kernel)} when this page was made.</p>",
        "<h2>The five ways</h2>", _definitions(INTERFACES),
        "<h2>One pipe, five ways</h2><p>A poll for IN is armed; three bytes are written, then two; one is read, then "
        "the rest; the writer closes. All that happens is the same in each lane.</p>",
        f'<div class="wide">{picture.svg(False)}</div>',
        "<p>Multishot behaves as level at the moment it is armed and as edge from there on: an event says that "
        "something happened, not how much there is. Who gets one reads until there is no more.</p>",
        "<h2>How to read the tables</h2>", _definitions(WORDS),
        "<nav aria-label='Kinds'>", *(f'<a href="#{kind}">{kind}</a>' for kind in kinds), "</nav>",
    ]
    for kind in kinds:
        about = KINDS[kind].about
        parts.append(f'<h2 id="{kind}">{kind}</h2><p>{escape(about[:1].upper() + about[1:])}.</p>')
        parts.append(_table([row for row in rows if row.kind == kind]))
    parts.append("<footer>Made by <code>pollring table --html</code>.</footer>")
    return page("What poll reports", "\n".join(parts))


def _definitions(words: Dict[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in words.items()) + "</dl>"


def _table(rows: List[Row]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in ("situation", *INTERFACES))
    body = []
    for row in rows:
        steps = escape(", ".join(map(str, row.result.steps)))
        cells = []
        for name in INTERFACES:
            text = cell_text(row, name)
            style = "other" if text.startswith("≠") else "silent" if text in ("-", "ended", "refused") else ""
            cells.append(f'<td data-of="{escape(name)}" class="{style}"><span>{escape(text)}</span></td>')
        body.append(f"<tr><th>{escape(row.situation)}<br><small>{steps}</small></th>{''.join(cells)}</tr>")
    return f'<table class="cells"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
