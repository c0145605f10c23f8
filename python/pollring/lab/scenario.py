"""The same steps against every interface, each with fresh files: what poll(2), epoll and POLL_ADD report, side by side.

>>> from pollring.lab import Scenario
>>> print(Scenario("pipe").arm("in").write(3).read(1).read("all").run())
"""

import errno
import json
import os
import re
import time
from html import escape
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Union

from .interfaces import INTERFACES, Report
from .kinds import KINDS
from .timeline import Lane, Mark, Timeline
from .words import Mistake, errno_name, events_text, example_within, mask_text, parse_mask, parse_seconds, seconds_text

#: What a step can be, with its argument, for people.
VERBS = {
    "arm": ("MASK", "a poll is armed for these events, as in arm in|out; in where none is named"),
    "write": ("N", "the other end makes it readable, with N bytes or other things; 1 where N isn't given"),
    "read": ("N|all", "this end reads; all where N isn't given"),
    "fill": ("", "this end writes until no more fits"),
    "take": ("N|all", "the other end reads"),
    "shutdown": ("", "the other end says that it will send no more"),
    "reset": ("", "an error comes from the other end"),
    "close": ("[own]", "the other end closes; own: this end does, with polls armed"),
    "reopen": ("", "the other end is opened again"),
    "remove": ("", "the poll is removed"),
    "update": ("MASK", "the poll is told to look for other events"),
    "recheck": ("", "the poll is told to look again (epoll: EPOLL_CTL_MOD; POLL_ADD: an update)"),
    "collect": ("", "events are collected, without waiting; where no step says so, after every step"),
    "sleep": ("TIME", "nothing happens for as long, as in sleep 10ms"),
}
_OF_THE_POLL = ("arm", "update", "recheck", "remove", "collect", "sleep")
EXAMPLE = "arm in, write 3, read 1, read all, close"
SAVED_AS = 1

#: The signs of a table, for people.
SIGNS = {
    "more": "the poll stays armed (the kernel's IORING_CQE_F_MORE)",
    "end": "that was its last event",
    "ended": "silence: nothing is armed any more",
    "-": "silence: nothing was reported",
    "≠": "other than poll(2) says, which is the state of the file",
}
_WHY_STEPS_FAIL = {
    "EAGAIN": "there is nothing to read, or no room to write",
    "EBADF": "that end is closed",
    "EEXIST": "epoll takes a file once",
    "ENOENT": "nothing is armed",
    "ENXIO": "nobody has it open for reading",
    "EPERM": "epoll takes no such file",
    "EPIPE": "nobody reads it any more",
}


class Step(NamedTuple):
    """One step. The argument: a mask for arm and update, a count for write, a count or None (all) for read and take,
    seconds for sleep, whether it is this end for close."""

    verb: str
    argument: Any = None

    def __str__(self) -> str:
        return f"{self.verb} {_show_argument(self)}".rstrip()


def _show_argument(step: Step) -> str:
    if step.verb in ("arm", "update"):
        return mask_text(step.argument)
    if step.verb in ("read", "take"):
        return "all" if step.argument is None else str(step.argument)
    if step.verb == "sleep":
        return seconds_text(step.argument).replace(" ", "").replace("µ", "u")
    if step.verb == "close":
        return "own" if step.argument else ""
    return "" if step.argument is None else str(step.argument)


def _parse_count(text: str, verb: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text) or not int(text):
        raise Mistake(f"{verb} takes a count of 1 to 999999, not {text!r}", f"arm in, {verb} 3")
    return int(text)


def parse_step(text: str) -> Step:
    """One step in words."""
    verb, _, argument = text.strip().partition(" ")
    verb, argument = verb.lower(), argument.strip()
    if verb not in VERBS:
        raise Mistake(f"{text.strip()!r} is no step; they are {', '.join(VERBS)}", EXAMPLE)
    if verb in ("arm", "update"):
        if verb == "update" and not argument:
            raise Mistake("update needs to be told the events", "arm in, update out")
        with example_within("arm {}" if verb == "arm" else "arm in, update {}"):
            return Step(verb, parse_mask(argument or "in"))
    if verb == "write":
        return Step(verb, _parse_count(argument or "1", verb))
    if verb in ("read", "take"):
        return Step(verb, None if argument in ("", "all") else _parse_count(argument, verb))
    if verb == "sleep":
        with example_within("arm in, sleep {}"):
            seconds = parse_seconds(argument)
        if seconds > 60:
            raise Mistake(f"a step sleeps for a minute at most, not {argument}", "arm in, sleep 10ms")
        return Step(verb, seconds)
    if verb == "close" and argument in ("", "own"):
        return Step(verb, bool(argument))
    if argument:
        raise Mistake(f"{verb} takes nothing after it, not {argument!r}", f"arm in, {verb}")
    return Step(verb)


def parse_steps(text: str) -> List[Step]:
    """Steps in words, with commas, semicolons or line ends between them."""
    return [parse_step(part) for part in re.split(r"[,;\n]", text) if part.strip()]


class Cell(NamedTuple):
    """What one interface said of one step: its reports, the name of the errno if the step itself failed, whether it has
    ended: was armed, and is no longer; and whether it was asked: where a step failed it may not have been."""

    reports: List[Report]
    error: Optional[str] = None
    ended: bool = False
    asked: bool = True

    def __str__(self) -> str:
        words = [events_text(events) + ("" if more is None else " more" if more else " end")
                 for events, more in self.reports]
        if self.asked and not words:
            words = ["ended" if self.ended else "-"]
        return ", ".join([*([self.error] if self.error else []), *words])

    def differs(self, state: "Cell") -> bool:
        """Whether it says other than poll(2) does; "more" is known to some interfaces only, and who has ended is silent."""
        return self.error != state.error or (bool(self.reports) or not self.ended) and (
            [report.events for report in self.reports] != [report.events for report in state.reports])

    def as_json(self) -> Any:
        return {"error": self.error, "ended": self.ended, "reports": [
            {"events": events_text(events), "mask": events, "more": more} for events, more in self.reports]}

    @classmethod
    def from_json(cls, saved: Any) -> "Cell":
        return cls([Report(report["mask"], report["more"]) for report in saved["reports"]], saved["error"],
                   saved["ended"])


def legend(texts: Iterable[str]) -> List[List[str]]:
    """The signs that are in these cells, and what they mean."""
    words = {word for text in texts for word in text.replace(",", " ").split()}
    return [[sign, meaning] for sign, meaning in SIGNS.items() if sign in words]


class Result:
    """What a run gave: ``rows[step][interface]`` is a :class:`Cell`, None where nothing was collected, or armed yet. It
    prints as a table, and shows as one in a notebook.

    ``absent`` tells why an interface could not be run here. ``times[interface]`` are the seconds from its start to each
    step.
    """

    def __init__(self, kind: str, steps: List[Step], kernel: str) -> None:
        self.kind = kind
        self.steps = steps
        self.kernel = kernel
        self.rows: List[Dict[str, Optional[Cell]]] = [{} for _ in steps]
        self.absent: Dict[str, str] = {}
        self.times: Dict[str, List[float]] = {}

    @property
    def interfaces(self) -> List[str]:
        return [name for name in INTERFACES if name not in self.absent]

    def differs(self, step: int, interface: str) -> bool:
        """Whether an interface says something else than poll(2) does, which tells the state of the file."""
        cell, state = self.rows[step].get(interface), self.rows[step].get("poll(2)")
        return bool(cell and state and cell.differs(state))

    def table(self) -> List[List[str]]:
        """Rows of text: the step, and what each interface said; "≠" marks what differs from poll(2)."""
        return [[str(step)] + [self._text(number, name) for name in INTERFACES]
                for number, step in enumerate(self.steps)]

    def _text(self, step: int, interface: str) -> str:
        if interface in self.absent:
            return "refused"
        return ("≠ " if self.differs(step, interface) else "") + str(self.rows[step].get(interface) or "")

    def legend(self) -> List[List[str]]:
        """The signs of the table, then the errors of steps that failed: [sign, what it means] each."""
        failed: Dict[str, Dict[str, None]] = {}
        for step, row in zip(self.steps, self.rows):
            for cell in filter(None, row.values()):
                if cell.error:
                    failed.setdefault(cell.error, {})[str(step)] = None
        return legend(cell for row in self.table() for cell in row[1:]) + [
            [name, f"{', '.join(steps)} failed: {_strerror(name)}"] for name, steps in failed.items()]

    def __str__(self) -> str:
        from .terminal import plain_table

        return "\n".join([plain_table(["", *INTERFACES], self.table()), "", plain_table([], self.legend())])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in ["", *INTERFACES])
        rows = []
        for title, *cells in self.table():
            marked = [f"<b>{escape(cell)}</b>" if cell.startswith("≠") else escape(cell) for cell in cells]
            rows.append(f"<tr><th>{escape(title)}</th><td>{'</td><td>'.join(marked)}</td></tr>")
        words = "<br>".join(f"<b>{escape(sign)}</b> {escape(meaning)}" for sign, meaning in self.legend())
        return f"<table><tr>{head}</tr>{''.join(rows)}</table><p>{words}</p>"

    # ---- saved, and compared ----

    def as_json(self) -> Dict[str, Any]:
        """What ``--json`` prints and ``--save`` writes."""
        return {
            "pollring_scenario": SAVED_AS, "kind": self.kind, "steps": [str(step) for step in self.steps],
            "kernel": self.kernel, "absent": self.absent,
            "outcome": [{name: cell.as_json() if cell else None for name, cell in row.items()} for row in self.rows],
        }

    def save(self, path: str) -> None:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.as_json(), file, indent=1)
            file.write("\n")

    def differences(self, saved: Dict[str, Any]) -> List[str]:
        """What is other than in a saved outcome, a line each. Interfaces that either could not run are left out."""
        lines = []
        for number, (step, row, before) in enumerate(zip(self.steps, self.rows, saved["outcome"]), 1):
            for name in (name for name in self.interfaces if name in before):
                cell = row.get(name)
                now = cell.as_json() if cell else None
                if now != before[name]:
                    lines.append(f"step {number}, {step}: {name} said {_cell_text(before[name])}, "
                                 f"now {_cell_text(now)}")
        return lines

    def timeline(self) -> Timeline:
        """A lane an interface, a column a step."""
        lanes = []
        for name in self.interfaces:
            lane = Lane(name)
            for number, (step, row) in enumerate(zip(self.steps, self.rows)):
                cell = row.get(name)
                at = float(number)
                if step.verb == "arm" and not (cell and cell.error):
                    lane.marks.append(Mark(at, "arm", ""))
                    at += 0.3
                if step.verb == "remove" and not (cell and cell.error):
                    lane.marks.append(Mark(at, "end", "removed"))
                for events, more in cell.reports if cell else ():
                    lane.marks.append(Mark(at, "event" if more is not False else "end", events_text(events)))
                    at += 0.3
                if cell and cell.ended and lane.marks[-1].what != "end":  # a file that was closed left its epoll
                    lane.marks.append(Mark(at, "end", "gone"))
            lanes.append(lane)
        middle = [sorted(times)[len(times) // 2] for times in zip(*self.times.values())]
        ticks = [(float(number), f"{step}{self._failed(number)}\n{seconds_text(at)}") for number, (step, at) in
                 enumerate(zip(self.steps, middle))]
        return Timeline(f"{self.kind}, Linux {self.kernel}", lanes, ticks)

    def _failed(self, step: int) -> str:
        """For the timeline: how a step failed in each lane."""
        errors = {cell.error if cell else None for cell in self.rows[step].values()}
        return f": {errors.pop()}" if len(errors) == 1 and None not in errors else ""


def _cell_text(cell: Optional[Dict[str, Any]]) -> str:
    if cell is None:
        return "nothing (not collected)"
    text = str(Cell.from_json(cell))
    return {"-": "nothing", "ended": "nothing, it had ended"}.get(text, text)


class Scenario:
    """A kind of file, and steps: ``Scenario("fifo").arm("in").write(3).close().reopen().run()``. Each step is a method
    that returns the scenario; :data:`VERBS` tells what they do."""

    def __init__(self, kind: str, steps: Union[str, Iterable[Step]] = ()) -> None:
        if kind not in KINDS:
            raise Mistake(f"{kind!r} is no kind of file; they are {', '.join(KINDS)}", EXAMPLE)
        self.kind = kind
        self.steps: List[Step] = []
        for step in parse_steps(steps) if isinstance(steps, str) else steps:
            self._add(step)

    def _add(self, step: Step) -> "Scenario":
        has = KINDS[self.kind].steps.split()
        verb = "close_own" if step.verb == "close" and step.argument else step.verb
        if verb not in has and verb not in _OF_THE_POLL:
            its = ", ".join(word.replace("_", " ") for word in (*has, *_OF_THE_POLL))
            raise Mistake(f"{self.kind} has no step {str(step)!r}; it has {its}", f"arm in, {has[0]}")
        self.steps.append(step)
        return self

    def arm(self, mask: Union[str, int] = "in") -> "Scenario":
        return self._add(Step("arm", parse_mask(mask) if isinstance(mask, str) else mask))

    def write(self, count: int = 1) -> "Scenario":
        return self._add(parse_step(f"write {count}"))

    def read(self, count: Union[str, int] = "all") -> "Scenario":
        return self._add(parse_step(f"read {count}"))

    def fill(self) -> "Scenario":
        return self._add(Step("fill"))

    def take(self, count: Union[str, int] = "all") -> "Scenario":
        return self._add(parse_step(f"take {count}"))

    def shutdown(self) -> "Scenario":
        return self._add(Step("shutdown"))

    def reset(self) -> "Scenario":
        return self._add(Step("reset"))

    def close(self, own: bool = False) -> "Scenario":
        return self._add(Step("close", bool(own)))

    def reopen(self) -> "Scenario":
        return self._add(Step("reopen"))

    def remove(self) -> "Scenario":
        return self._add(Step("remove"))

    def update(self, mask: Union[str, int]) -> "Scenario":
        return self._add(Step("update", parse_mask(mask) if isinstance(mask, str) else mask))

    def recheck(self) -> "Scenario":
        return self._add(Step("recheck"))

    def collect(self) -> "Scenario":
        return self._add(Step("collect"))

    def sleep(self, seconds: Union[str, float]) -> "Scenario":
        return self._add(parse_step(f"sleep {seconds}"))

    # ---- running ----

    def run(self, advance: Callable[[], None] = lambda: None) -> Result:
        """Runs the steps once for each interface, and calls *advance* after each. Takes as long as the steps do, times
        five; nothing is left open."""
        result = Result(self.kind, list(self.steps), os.uname().release)
        collects = any(step.verb == "collect" for step in self.steps)
        for name, interface in INTERFACES.items():
            try:
                poll = interface()
            except OSError as error:
                result.absent[name] = error.strerror or str(error)
                continue
            try:
                self._run_one(name, poll, collects, result)
            finally:
                poll.close()
            advance()
        return result

    def _run_one(self, name: str, poll: Any, collects: bool, result: Result) -> None:
        kind = KINDS[self.kind]()
        times = result.times.setdefault(name, [])
        was_armed = False
        try:
            started = time.monotonic()
            for step, row in zip(self.steps, result.rows):
                times.append(time.monotonic() - started)
                failed = None
                try:
                    _carry_out(step, kind, poll)
                except OSError as error:
                    failed = errno_name(error)
                was_armed = was_armed or poll.armed
                if was_armed and (not collects or step.verb == "collect"):
                    reports = poll.collect()
                    row[name] = Cell(reports, failed, was_armed and not poll.armed)
                else:
                    row[name] = Cell([], failed, asked=False) if failed else None
        finally:
            kind.end()


def _strerror(name: str) -> str:
    """Of an errno's name."""
    text = os.strerror(getattr(errno, name)) if hasattr(errno, name) else name
    return f"{text}: {_WHY_STEPS_FAIL[name]}" if name in _WHY_STEPS_FAIL else text


def _carry_out(step: Step, kind: Any, poll: Any) -> None:
    verb, argument = step
    if verb == "arm":
        if kind.fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        poll.arm(kind.fd, argument)
    elif verb == "update":
        poll.update(argument)
    elif verb in ("recheck", "remove"):
        getattr(poll, verb)()
    elif verb == "sleep":
        time.sleep(argument)
    elif verb == "close" and argument:
        kind.close_own()
    elif verb in ("write", "read", "take"):
        getattr(kind, verb)(argument)
    elif verb != "collect":
        getattr(kind, verb)()


def read_saved(path: str) -> Optional[Dict[str, Any]]:
    """What a file holds, unchecked; None where that is no scenario, of any version."""
    with open(path, encoding="utf-8") as file:
        try:
            saved = json.load(file)
        except ValueError:
            return None
    return saved if isinstance(saved, dict) and "pollring_scenario" in saved else None


def load(path: str) -> Dict[str, Any]:
    """A saved scenario; ``Scenario(saved["kind"], saved["steps"])`` runs it again, ``Result.differences`` compares."""
    example = f"pollring try pipe '{EXAMPLE}' --save pipe.json"
    saved = read_saved(path)
    if saved is None:
        raise Mistake(f"{path} is no saved scenario", example)
    if saved["pollring_scenario"] != SAVED_AS:
        raise Mistake(f"{path} was saved as version {saved['pollring_scenario']}, this reads {SAVED_AS}")
    try:
        saved["steps"] = [parse_step(text) for text in saved["steps"]]
        Scenario(saved["kind"], saved["steps"])
        if len(saved["outcome"]) != len(saved["steps"]):
            raise Mistake("it has an outcome for some of its steps only")
        for row in saved["outcome"]:
            for cell in row.values():
                _cell_text(cell)
    except Mistake as mistake:
        raise Mistake(f"{path} is no saved scenario: {mistake}", example) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Mistake(f"{path} is no saved scenario: its steps or its outcome are not as they were saved",
                      example) from None
    return saved
