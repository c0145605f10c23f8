"""Show a line for each readiness event of files, sockets, timers, signals and processes.

A poll is level-triggered once, when it is armed, and edge-triggered from there
on. An event's line has the seconds since the start, the target, the bits,
whether more will come (else how it ended), and what was read.

Targets:
  -              standard input
  fd:N           a file descriptor that pollring inherits
  PATH           a FIFO, terminal, device or socket; a regular file's or folder's changes, by inotify
  tcp:HOST:PORT  a connection that is made
  listen:PORT    connections that are accepted, on 127.0.0.1; port 0: any
                 free one; listen:HOST:PORT: elsewhere
  unix:PATH      a unix socket that is connected to
  timer:SECONDS  again and again; 10ms and 200us do as well
  signal:NAME    sent to pollring's own process
  pid:N          the end of a process
  -- COMMAND     its stdout, its stderr, and its end

It never sleeps in a read. Standard input, and what pollring itself opened or
started, is read until there is no more. The bytes of fd:N, and of a FIFO,
terminal or device at a PATH, may be somebody else's: they are left alone, and
the line tells how many are unread, unless --drain says otherwise. --no-drain
reads nothing of anything.

It ends with a summary: when all targets have ended, at a limit, or by Ctrl-C.

Examples:
  pollring watch tcp:localhost:8080 timer:1
  pollring watch - --json < fifo
  pollring watch /dev/input/event0 --for 5 --svg keys.svg
  pollring watch -e in -- ping -c 3 localhost
"""

import argparse
import errno
import json
import os
import time
from typing import Any, Dict, List, Optional

import pollring

from .targets import EXAMPLES, Taken, Target, open_command, open_target
from .terminal import Lines
from .timeline import Lane, Mark, Timeline
from .try_ import add_output_arguments, draw
from .words import Mistake, events_text, example_within, parse_mask, parse_seconds, printable, seconds_text

EXIT_STATUS = {0: "done, or ended by Ctrl-C while it watched", 130: "interrupted by Ctrl-C before"}
#: Seconds after which the status is brought up to date, and a Ctrl-C that came just before a wait is seen.
LOOK = 0.25
_READABLE = pollring.POLLIN | pollring.POLLRDNORM | pollring.POLLRDHUP | pollring.POLLHUP | pollring.POLLERR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = ("pollring watch [-h] [-e MASK] [--once] [--for SECONDS] [--count N] [--drain | --no-drain]\n"
                    "                      [--json | --timeline] [--svg FILE] [--html FILE]\n"
                    "                      TARGET... [-- COMMAND...]")
    parser.set_defaults(command=[])
    parser.add_argument("targets", metavar="TARGET", nargs="*", help="what to watch; see above")
    parser.add_argument("-e", "--events", metavar="MASK", default="in",
                        help="the events to ask for, as in|out|rdhup; hangup and errors come unasked (default: in)")
    parser.add_argument("--once", action="store_true", help="one event a target: one-shot polls")
    parser.add_argument("--for", metavar="SECONDS", dest="seconds", help="end after this time")
    parser.add_argument("--count", metavar="N", help="end after N events")
    drain = parser.add_mutually_exclusive_group()
    drain.add_argument("--drain", action="store_true", default=None, help="read after events, whatever it is")
    drain.add_argument("--no-drain", action="store_false", dest="drain", help="read nothing")
    add_output_arguments(parser, "print a JSON object a line")


def run(arguments: argparse.Namespace) -> int:
    if not arguments.targets and not arguments.command:
        raise Mistake(f"nothing to watch; a target is one of {EXAMPLES}", "pollring watch tcp:localhost:80")
    with example_within("pollring watch - -e '{}'"):
        mask = parse_mask(arguments.events)
    with example_within("pollring watch timer:1 --for {}"):
        seconds = parse_seconds(arguments.seconds) if arguments.seconds is not None else None
    if arguments.count is not None and not (arguments.count.isdigit() and int(arguments.count)):
        raise Mistake(f"--count needs a number of events, not {arguments.count!r}", "pollring watch timer:1 --count 10")
    count = int(arguments.count) if arguments.count else None

    targets: List[Target] = []
    try:
        with pollring.Ring() as ring:
            if arguments.command:  # first: it must not inherit blocked signals
                targets += open_command(arguments.command)
            for word in arguments.targets:
                targets.append(open_target(word, mask))
            if arguments.drain is not None:
                for target in targets:
                    target.drains = arguments.drain
            watch = Watch(ring, mask, arguments, targets)
            with Lines(plain=arguments.json) as watch.lines:
                try:
                    for target in list(targets):
                        watch.add(target)
                    watch.loop(seconds, count)
                except KeyboardInterrupt:
                    pass
            watch.summarise()
    finally:
        for target in targets:
            target.close()
    return 0


class Watch:
    """The polls of the targets, and what is told of their events. Accepted connections are added to *targets*."""

    def __init__(self, ring: pollring.Ring, mask: int, arguments: argparse.Namespace, targets: List[Target]) -> None:
        self.ring = ring
        self.mask = mask
        self.arguments = arguments
        self.targets = targets
        self.lanes: Dict[Target, Lane] = {}
        self.counts: Dict[Target, List[int]] = {}  # events, bytes drained
        self.lines: Any = None
        self.draws = arguments.timeline or arguments.svg or arguments.html
        self.wide = max(len(target.name) for target in targets)
        self.started = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self.started

    def add(self, target: Target) -> None:
        self.ring.poll_add(target.fd, self.mask, multishot=not (self.arguments.once or target.once),
                           until_hangup=target.until_hangup, data=target)
        self.counts[target] = [0, 0]
        self.mark(target, "arm", "")
        if self.arguments.json:
            self.tell_json(type="target", time=self.now(), target=target.name, fd=target.fd, about=target.about,
                           drains=target.drains)
        else:
            reads = "" if target.drains else "; not drained"
            self.lines.line(f"{'':>11}  {target.name:<{self.wide}}  {target.about}{reads}", "dim")

    def loop(self, seconds: Optional[float], count: Optional[int]) -> None:
        """Until all polls have ended, the time is over, or so many events came."""
        seen = 0
        while self.ring.active and (count is None or seen < count):
            left = LOOK if seconds is None else max(0.0, min(LOOK, seconds - self.now()))
            self.lines.status(f"{seconds_text(round(self.now(), 1))}, {_plural(seen)}, {self.ring.active} armed; "
                              "Ctrl-C ends it")
            for poll, events in self.ring.wait(left, 0 if count is None else count - seen):
                if events != -errno.ECANCELED:
                    seen += 1
                    self.event(poll, events)
            if seconds is not None and self.now() >= seconds:
                return

    def event(self, poll: pollring.Poll, events: pollring.Events) -> None:
        target, at = poll.data, self.now()
        if events < 0 or not events & _READABLE:
            taken = Taken(None)
        elif target.drains:
            taken = target.take(not events.more)
        else:
            taken = target.left()
        end = None if events.more else poll.end_reason
        if not taken.all and events.more:
            poll.recheck()
        self.tell(target, at, events, end, taken)
        for fresh in target.more_targets():
            self.targets.append(fresh)
            self.add(fresh)
        if end and target.passing:
            self.targets.remove(target)
            target.close()

    def tell(self, target: Target, at: float, events: pollring.Events, end: Optional[str], taken: Taken) -> None:
        bits = events_text(events)
        counts = self.counts[target]
        counts[0] += 1
        counts[1] += taken.drained or 0
        self.mark(target, "end" if end else "event", bits, at)
        if self.arguments.json:
            self.tell_json(type="event", time=at, target=target.name, events=bits.split("|"), mask=int(events),
                           more=events.more, end=end, drained=taken.drained, note=taken.note)
            return
        words = [f"{taken.drained} bytes"] if taken.drained is not None else []
        words += [taken.note] if taken.note else []
        more = "more" if events.more else f"end: {end}"
        self.lines.line(f"{at:11.6f}  {target.name:<{self.wide}}  {bits:<8}  {more:<4}  {', '.join(words)}".rstrip(),
                        "" if events.more else "bold")

    def mark(self, target: Target, what: str, label: str, at: Optional[float] = None) -> None:
        if self.draws:
            lane = self.lanes.setdefault(target, Lane(target.name))
            lane.marks.append(Mark(self.now() if at is None else at, what, label))

    def tell_json(self, **fields: Any) -> None:
        fields["time"] = round(fields["time"], 6)
        self.lines.line(json.dumps(fields))

    def summarise(self) -> None:
        seconds, total = self.now(), sum(count for count, _ in self.counts.values())
        if self.arguments.json:
            print(json.dumps({"type": "summary", "time": round(seconds, 6), "events": total,
                              "backend": self.ring.backend, "targets": [
                                  {"target": target.name, "events": events, "drained": drained}
                                  for target, (events, drained) in self.counts.items()]}))
        else:
            print(f"\n{_plural(total)} in {seconds_text(seconds)}, by {self.ring.backend}")
            for target, (events, drained) in self.counts.items():
                print(f"  {printable(target.name):<{self.wide}}  {_plural(events)}, {drained} bytes drained")
        if self.draws:
            title = f"Linux {os.uname().release}, by {self.ring.backend}"
            draw(Timeline(title, list(self.lanes.values()), end=seconds), self.arguments)


def _plural(events: int) -> str:
    return f"{events} event{'' if events == 1 else 's'}"
