"""Timelines: a lane a file or an interface, a mark an event; as text, as SVG, as a page.

The marks differ in shape, so that they can be told apart in black and white: a poll is armed at a bar or a triangle,
its line is drawn as long as it stays armed, events are discs, ends are squares.
"""

import math
from html import escape
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from .words import printable, seconds_text


class Mark(NamedTuple):
    """``at``: seconds, or a column where the timeline has ticks of its own. ``what``: "arm", "event" or "end", which
    may be an event too."""

    at: float
    what: str
    label: str


class Lane:
    def __init__(self, name: str) -> None:
        self.name = printable(name)
        self.marks: List[Mark] = []

    def armed(self, end: float) -> List[Tuple[float, float]]:
        """From when to when it was armed, *end* being the end of the timeline."""
        spans, since = [], None
        for mark in self.marks:
            if mark.what == "arm" and since is None:
                since = mark.at
            elif mark.what == "end" and since is not None:
                spans.append((since, mark.at))
                since = None
        return spans if since is None else [*spans, (since, end)]


class _Label(NamedTuple):
    x: float
    row: Optional[int]  # None: there was no room
    text: str


def _merge(marks: Sequence[Mark], place: Callable[[float], float], nearer: float) -> List[Tuple[float, Mark, int]]:
    """Marks that would lie on each other become one: (x, mark, how many). What would hide an "arm" moves on."""
    merged: List[Tuple[float, Mark, int]] = []
    for mark in marks:
        x = place(mark.at)
        if merged and merged[-1][1].what == "arm" and mark.what != "arm":
            x = max(x, merged[-1][0] + nearer)
        if merged and x - merged[-1][0] < nearer and mark[1:] == merged[-1][1][1:]:
            merged[-1] = (*merged[-1][:2], merged[-1][2] + 1)
        else:
            merged.append((x, mark, 1))
    return merged


def _labels(merged: Sequence[Tuple[float, Mark, int]], size: float, rows: int, right: float) -> List[_Label]:
    """Puts each label where it overlaps none before it; *size* is the width of a character. Marks whose label would
    repeat the one that it overlaps are counted there."""
    groups: List[Tuple[float, str, int]] = []  # x, label, how many
    for x, mark, count in merged:
        if groups and mark.what != "tick" and mark.label == groups[-1][1] and (
                x < groups[-1][0] + size * (len(_counted(*groups[-1][1:])) + 1)):
            x, count = groups[-1][0], count + groups.pop()[2]
        groups.append((x, mark.label, count))

    free = [-math.inf] * rows
    labels = []
    for x, label, count in groups:
        text = _counted(label, count)
        x = max(0.0, min(x, right - len(text) * size))
        row = next((row for row in range(rows) if free[row] <= x), None) if text else None
        if row is not None:
            free[row] = x + (len(text) + 1) * size
        labels.append(_Label(x, row, text))
    return labels


def _short(name: str, most: int) -> str:
    """The end of a name, where paths differ."""
    return name if len(name) <= most else "…" + name[1 - most:]


def _counted(label: str, count: int) -> str:
    return f"{label} ×{count}" if label and count > 1 else label


class Timeline:
    """Lanes from 0 to the latest mark, or to *end*. With *ticks*, (position, text) each, the axis has columns."""

    def __init__(self, title: str, lanes: List[Lane], ticks: Optional[List[Tuple[float, str]]] = None,
                 end: float = 0.0) -> None:
        self.title = title
        self.lanes = lanes
        self.columns = ticks is not None
        latest = max((mark.at for lane in lanes for mark in lane.marks), default=0.0)
        if ticks is None:
            self.end = max(latest, end) or 1.0
            ticks = _time_ticks(self.end)
        else:
            self.end = max(latest, len(ticks) - 0.3)
        self.ticks = ticks

    # ---- text ----

    def text(self, width: int = 80) -> str:
        """For a terminal of *width* characters."""
        gutter = max([len(_short(lane.name, 24)) for lane in self.lanes] or [0]) + 2
        room = max(20, width - gutter - 1)

        def place(at: float) -> int:
            return min(room - 1, round(at / self.end * (room - 1)))

        lines, left_out = [self.title], 0
        for lane in self.lanes:
            merged = _merge(lane.marks, place, 1)
            row = [" "] * room
            for start, end in lane.armed(self.end):
                row[place(start):place(end) + 1] = "─" * (place(end) + 1 - place(start))
            for x, mark, _ in merged:
                row[int(x)] = SIGNS[mark.what]
            labels = _labels(merged, 1, ROWS, room)
            left_out += sum(label.row is None and bool(label.text) for label in labels)
            lines.append(_short(lane.name, 24).ljust(gutter) + "".join(row).rstrip())
            lines += _label_lines(labels, gutter, room)
        axis = ["─"] * room
        for at, _ in self.ticks:
            axis[place(at)] = "┴"
        lines.append(" " * gutter + "".join(axis))
        for part in zip(*(text.split("\n") for _, text in self.ticks)):
            marks = [(place(at), Mark(at, "tick", text), 1) for (at, _), text in zip(self.ticks, part)]
            lines += _label_lines(_labels(marks, 1, 2 if self.columns else 1, room), gutter, room)
        lines.append(LEGEND + (f"   ({left_out} labels left out, there is no room)" if left_out else ""))
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    # ---- pictures ----

    def svg(self, heading: bool = True) -> str:
        """A picture of its own, or to be put into a page: black on white, no fonts or files from elsewhere."""
        gutter = 20 + CHARACTER * max([len(_short(lane.name, 40)) for lane in self.lanes] or [0])
        room = max(640.0, 120.0 * len(self.ticks)) if self.columns else 720.0

        def place(at: float) -> float:
            return 10 + at / self.end * (room - 20)

        body, y = [], 42.0 + 20 * heading
        for lane in self.lanes:
            merged = _merge(lane.marks, place, 7)
            labels = _labels(merged, CHARACTER, ROWS, room)
            body.append(f'<text x="10" y="{y + 4:.0f}" font-weight="bold">{escape(_short(lane.name, 40))}'
                        "</text>")
            for start, end in lane.armed(self.end):
                body.append(f'<line x1="{gutter + place(start):.1f}" x2="{gutter + place(end):.1f}" y1="{y:.1f}" '
                            f'y2="{y:.1f}" stroke="#111" stroke-width="2"/>')
            for x, mark, count in merged:
                title = f"{mark.label or 'armed'}{f', {count} times' if count > 1 else ''}"
                if not self.columns:
                    title += f", at {seconds_text(mark.at)}"
                body.append(f"<g><title>{escape(title)}</title>{_shape(mark.what, gutter + x, y)}</g>")
            body += [f'<text x="{gutter + label.x:.1f}" y="{y + 20 + 14 * label.row:.1f}" font-size="11">'
                     f"{escape(label.text)}</text>" for label in labels if label.row is not None]
            y += 36 + 14 * max([label.row or 0 for label in labels] or [0])
        axis = [f'<line x1="{gutter}" x2="{gutter + room:.0f}" y1="{y - 8:.0f}" y2="{y - 8:.0f}" stroke="#111"/>']
        for number, (at, text) in enumerate(self.ticks):
            x = gutter + place(at)
            axis.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{24 + 20 * heading}" y2="{y - 3:.0f}" stroke="#bbb" '
                        'stroke-dasharray="2 4"/>')
            anchor = "start" if number == 0 or self.columns else "middle"
            for line, part in enumerate(text.split("\n")):
                axis.append(f'<text x="{x - (5 if anchor == "start" else 0):.1f}" y="{y + 12 + 15 * line:.0f}" '
                            f'text-anchor="{anchor}" font-size="11">{escape(part)}</text>')
        width, height = gutter + room + 30, y + 22 + 15 * max([text.count("\n") for _, text in self.ticks] or [0])
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
                f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="ui-monospace, DejaVu Sans Mono, monospace" '
                f'font-size="12" fill="#111" role="img">\n<title>{escape(self.title)}</title>\n'
                f'<rect width="100%" height="100%" fill="#fff"/>\n'
                + heading * f'<text x="10" y="22" font-size="14" font-weight="bold">{escape(self.title)}</text>\n'
                + _svg_legend(gutter, 18 + 20 * heading)
                + "\n".join(axis[1:] + axis[:1] + body) + "\n</svg>\n")

    def html(self) -> str:
        """A page of its own: the picture, and what it shows as lists."""
        from .page import page

        lanes = []
        for lane in self.lanes:
            marks = "".join(f"<li><time>{escape(self._when(mark.at))}</time> {WORDS[mark.what]}"
                            f"{': ' if mark.label else ''}<b>{escape(mark.label)}</b></li>" for mark in lane.marks)
            opened = " open" if len(lane.marks) <= 20 else ""
            lanes.append(f"<details{opened}><summary>{escape(lane.name)}: {len(lane.marks)} marks</summary>"
                         f"<ol>{marks}</ol></details>")
        return page(self.title, f'<div class="wide">{self.svg(False)}</div><h2>In words</h2>{"".join(lanes)}')

    def _when(self, at: float) -> str:
        return self.ticks[int(at)][1].replace("\n", ", ") if self.columns else seconds_text(at)

    def _repr_html_(self) -> str:
        return self.svg()


ROWS = 3  # of labels under a lane
CHARACTER = 7.3  # width of one, in pixels, at the larger of the two sizes
SIGNS = {"arm": "├", "event": "●", "end": "■"}
WORDS = {"arm": "armed", "event": "event", "end": "end"}
LEGEND = "├ armed   ─ stays armed   ● event   ■ end"


def _label_lines(labels: Sequence[_Label], gutter: int, room: int) -> List[str]:
    lines = []
    for number in range(ROWS):
        row = [" "] * room
        for label in labels:
            if label.row == number:
                row[int(label.x):int(label.x) + len(label.text)] = label.text
        if text := "".join(row).rstrip():
            lines.append(" " * gutter + text)
    return lines


def _shape(what: str, x: float, y: float) -> str:
    if what == "arm":
        return f'<path d="M{x - 1:.1f} {y - 8:.1f}v16l8 -8z" fill="#fff" stroke="#111" stroke-width="2"/>'
    if what == "end":
        return f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="#111"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#1c5bb0" stroke="#111"/>'


def _svg_legend(x: float, y: float) -> str:
    parts = []
    for what, words in WORDS.items():
        parts.append(f'{_shape(what, x + 6, y)}<text x="{x + 18:.0f}" y="{y + 4}" font-size="11">{words}</text>')
        x += 80
    return "".join(parts) + (f'<line x1="{x:.0f}" x2="{x + 24:.0f}" y1="{y}" y2="{y}" stroke="#111" stroke-width="2"/>'
                             f'<text x="{x + 30:.0f}" y="{y + 4}" font-size="11">stays armed</text>\n')


def _time_ticks(end: float) -> List[Tuple[float, str]]:
    """About six, at round figures, with their unit."""
    unit, name = next(((unit, name) for unit, name in ((1.0, "s"), (1e-3, "ms")) if end >= unit), (1e-6, "µs"))
    size = 10 ** math.floor(math.log10(end / unit / 5))
    step = next(size * factor for factor in (1, 2, 5, 10) if end / unit / (size * factor) <= 6)
    return [(number * step * unit, f"{number * step:g} {name}") for number in range(int(end / unit / step) + 1)]
