"""Random scripts of steps, run on both backends and on a plain model of the rules (docs/kernel.md): what a user may
rely on has to hold on each, and where the two differ the table DIFFERENCES has to say so.

The model knows of each poll which bits it asks for and what has woken it since the last collection. What state a file
is in poll(2) tells. For each collection it gives two masks: `must`, what a wake-up told and is still so, and `may`; no
wake-up means silence. Ends and their reasons follow from the events that came.

Some seconds in the tests; DIFFERENTIAL_SECONDS=120 gives it more time, and luck of its own each time.
"""

import ctypes
import errno
import os
import random
import select
import signal
import socket
import struct
import tempfile
import time

import pytest

import pollring
from conftest import PATIENCE
from pollring import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis (python3-hypothesis) is not installed")
from hypothesis import HealthCheck, settings, strategies  # noqa: E402
from hypothesis import stateful  # noqa: E402
from hypothesis.stateful import initialize, precondition, rule  # noqa: E402

libc = ctypes.CDLL(None, use_errno=True)

ALL = POLLIN | POLLPRI | POLLOUT | POLLERR | POLLHUP | POLLRDHUP
UNASKED = POLLERR | POLLHUP | POLLRDHUP  # told whether asked for or not
GUARD = 1.0 * PATIENCE  # seconds for what has to come


def state(fd):
    """What the file is ready for, as poll(2) says."""
    poller = select.poll()
    poller.register(fd, POLLIN | POLLPRI | POLLOUT | POLLRDHUP)
    return sum(bits for _, bits in poller.poll(0))


def until(fd, bits):
    """Waits until the file is ready for this: what other processors and timers do takes a moment."""
    deadline = time.monotonic() + GUARD
    while not state(fd) & bits:
        assert time.monotonic() < deadline, f"fd {fd} does not become ready"


# ---- files, and whom each step wakes ----

ANY = -1  # a wake-up that names no bits: whoever is woken looks


class Kind:
    """Two ends, or one, and the steps that make a difference to it. A step returns whom it woke with which bits, as
    {side: bits}, or None if it can't be done. The bits that an end gained by a step it always was woken for."""

    steps = ["write", "read"]
    pollable = True
    is_pipe = False
    is_late = False  # whether a wake-up can come after its step: what the network does is another processor's work
    maybe = {}  # step: {side relative to its own: bits}: wake-ups that some kernels make

    def __init__(self):
        self.fds = self.open()
        for fd in self.fds:
            os.set_blocking(fd, False)

    def write(self, side):
        return None

    def fill(self, side):
        return None

    def read(self, side):
        return None

    def shutdown(self, side):
        return None

    def reopen(self, side):
        return None

    def close(self, side):
        os.close(self.fds[side])
        self.fds[side] = -1
        return {1 - side: ANY} if len(self.fds) == 2 and self.fds[1 - side] >= 0 else {}

    def drain(self, fd):
        """Reads until EAGAIN or the end. Whether there was anything."""
        some = False
        while True:
            try:
                if not os.read(fd, 65536):
                    return some
                some = True
            except BlockingIOError:
                return some
            except ConnectionError:
                pass  # told once


class Pipe(Kind):
    steps = ["write", "read", "fill", "close"]
    is_pipe = True

    def open(self):
        return list(os.pipe())

    def write(self, side, much=1):
        if side != 1 or self.fds[0] < 0 or not state(self.fds[1]) & POLLOUT:
            return None
        os.write(self.fds[1], b"x" * much)
        return {0: POLLIN}

    def fill(self, side):
        return self.write(side, 1 << 20)

    def read(self, side):
        if side != 0:
            return None
        self.drain(self.fds[0])
        return {}


class Fifo(Pipe):
    steps = [*Pipe.steps, "reopen"]

    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        self.name = self.folder.name + "/fifo"
        os.mkfifo(self.name)
        read_end = os.open(self.name, os.O_RDONLY | os.O_NONBLOCK)
        return [read_end, os.open(self.name, os.O_WRONLY)]

    def reopen(self, side):
        if side != 1 or self.fds[1] >= 0 or self.fds[0] < 0:
            return None
        self.fds[1] = os.open(self.name, os.O_WRONLY | os.O_NONBLOCK)
        return {0: ANY}


class Stream(Kind):
    steps = ["write", "read", "fill", "shutdown", "close"]

    def open(self):
        return [end.detach() for end in socket.socketpair()]

    def can_write(self, side):
        return min(self.fds) >= 0 and not any(state(fd) & (POLLHUP | POLLERR | POLLRDHUP) for fd in self.fds)

    def write(self, side):
        if not self.can_write(side) or not state(self.fds[side]) & POLLOUT:
            return None
        os.write(self.fds[side], b"x")
        until(self.fds[1 - side], POLLIN)
        return {1 - side: POLLIN | POLLPRI}

    def fill(self, side):
        if not self.can_write(side):
            return None
        woken = {}
        while state(self.fds[side]) & POLLOUT:
            os.write(self.fds[side], b"x" * 65536)
            woken = {1 - side: POLLIN | POLLPRI}
        return woken

    def read(self, side):
        some = self.drain(self.fds[side])
        return {1 - side: POLLOUT} if some and self.fds[1 - side] >= 0 else {}

    def shutdown(self, side):
        if min(self.fds) < 0:
            return None
        with socket.socket(fileno=os.dup(self.fds[side])) as end:
            try:
                end.shutdown(socket.SHUT_WR)
            except OSError:  # it was reset, or is closed in both directions
                return None
        until(self.fds[1 - side], POLLRDHUP)
        if state(self.fds[side]) & POLLRDHUP:  # shut in both directions by now
            for fd in self.fds:
                until(fd, POLLHUP)
        return {side: ANY, 1 - side: ANY}


class Tcp(Stream):
    steps = ["write", "read", "shutdown", "close"]
    is_late = True
    maybe = {step: {0: POLLOUT, 1: POLLOUT} for step in steps}  # what was sent is acknowledged

    def open(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            ends = [socket.create_connection(server.getsockname()), server.accept()[0]]
        for end in ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return [end.detach() for end in ends]

    def fill(self, side):
        return None

    def read(self, side):
        self.drain(self.fds[side])
        return {}

    def shutdown(self, side):
        shut_before = min(self.fds) >= 0 and state(self.fds[1 - side]) & POLLRDHUP
        woken = super().shutdown(side)
        if woken:
            self.wait_for_acknowledgement(side)
        return {side: ANY} if woken and shut_before else woken

    def wait_for_acknowledgement(self, side):
        """Of the FIN: it wakes whoever sent that, up to 40 ms later."""
        waiting = {4, 9, 11}  # TCP_FIN_WAIT1, TCP_LAST_ACK, TCP_CLOSING
        deadline = time.monotonic() + GUARD
        with socket.socket(fileno=os.dup(self.fds[side])) as end:
            while end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in waiting:
                assert time.monotonic() < deadline, "a FIN is not acknowledged"
                time.sleep(0.001)

    def close(self, side):
        self.drain(self.fds[side])  # else the peer is reset, which comes in several wake-ups
        peer = self.fds[1 - side]
        shut_before = peer >= 0 and state(peer) & POLLRDHUP
        woken = super().close(side)
        if woken:
            until(peer, POLLRDHUP)
        return {} if shut_before else woken


class Udp(Kind):
    steps = ["write", "read", "close"]
    is_late = True
    maybe = {"write": {0: POLLOUT}}

    def open(self):
        ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for end in ends:
            end.bind(("127.0.0.1", 0))
        for end, peer in zip(ends, reversed(ends)):
            end.connect(peer.getsockname())
        return [end.detach() for end in ends]

    def write(self, side):
        try:
            os.write(self.fds[side], b"x")
        except ConnectionRefusedError:  # the answer to the last one: nobody reads any more
            return {}
        if self.fds[1 - side] < 0:
            until(self.fds[side], POLLERR)
            return {side: POLLERR}
        until(self.fds[1 - side], POLLIN)
        return {1 - side: POLLIN | POLLPRI}

    def read(self, side):
        self.drain(self.fds[side])
        return {}

    def close(self, side):
        super().close(side)
        return {}


class Eventfd(Kind):
    def open(self):
        return [libc.eventfd(0, 0)]

    def write(self, side):
        os.write(self.fds[0], struct.pack("Q", 1))
        return {0: POLLIN}

    def read(self, side):
        return {0: POLLOUT} if self.drain_once() else {}

    def drain_once(self):
        return self.drain(self.fds[0])


class Timerfd(Eventfd):
    def open(self):
        return [libc.timerfd_create(1, 0)]

    def write(self, side):
        libc.timerfd_settime(self.fds[0], 0, struct.pack("4l", 0, 0, 0, 1), None)
        until(self.fds[0], POLLIN)
        return {0: POLLIN}

    def read(self, side):
        self.drain_once()
        return {}


class Unpollable(Kind):
    pollable = False

    def open(self):
        return [os.open(self.path, os.O_RDONLY)]


class RegularFile(Unpollable):
    path = __file__


class DevNull(Unpollable):
    path = "/dev/null"


class Directory(Unpollable):
    path = "/"


KINDS = {kind.__name__.lower(): kind
         for kind in (Pipe, Fifo, Stream, Tcp, Udp, Eventfd, Timerfd, RegularFile, DevNull, Directory)}


# ---- the model ----

class Expected:
    """What one poll may be relied on for. Its backend is in `world`."""

    def __init__(self, world, file, side, asked, options):
        self.world, self.file, self.side, self.asked = world, file, side, asked
        self.oneshot = not options["multishot"]
        self.until_hangup = options["until_hangup"]
        self.active, self.reason, self.cancelled = True, None, False
        self.look = True  # when the request goes out, the kernel looks at the file
        self.listening = False
        self.told = self.possible = self.late = self.wakes = 0
        self.updated = False

    def forget(self):
        """What was collected is no longer to come, or where it is late once more."""
        self.late = self.told | self.possible if self.file.is_late else 0
        self.told = self.possible = self.wakes = 0
        self.updated = False

    @property
    def heard(self):
        """The bits that its user hears of."""
        return self.asked | UNASKED

    def state(self):
        fd = self.file.fds[self.side]
        return state(fd) if fd >= 0 else 0

    def arm(self):
        self.active, self.reason, self.look, self.listening = True, None, True, False
        self.forget()

    def woken(self, bits):
        """A wake-up; one for nothing that it asks for is none. Polls are not woken before their request went out."""
        bits = (self.state() if bits == ANY else bits) & self.heard
        if self.active and self.listening and bits:
            self.told |= bits
            self.wakes += 1

    def maybe_woken(self, bits):
        if self.active and self.listening:
            self.possible |= bits & self.heard

    def step_done(self):
        if self.wakes > 1 or (self.wakes and self.world.full_state):
            self.possible |= self.state() & self.heard

    def request_sent(self):
        """Level at arm, and at update and recheck."""
        if self.active and self.look:
            if not self.listening:
                self.looked_for = self.asked
            self.look, self.listening = False, True
            self.woken(ANY)

    def update(self, asked):
        self.updated = self.updated or asked != self.asked
        self.asked = asked
        self.look = True
        self.told &= self.heard
        self.possible &= self.heard

    def end(self, reason):
        self.active, self.reason, self.listening = False, reason, False
        self.forget()

    def remove(self):
        if self.active:
            self.end("removed")
            self.cancelled = True

    def must(self):
        if not self.active or not self.file.pollable:
            return 0
        return self.told & self.state() & (self.asked | POLLERR | POLLHUP)

    def may(self):
        late = self.late | self.state() if self.file.is_late else 0  # at any time, but only what is so
        return self.told | self.possible | (late & self.heard)

    def is_hangup(self, mask):
        return self.until_hangup and bool(
            mask & POLLHUP or (mask & POLLRDHUP and not self.asked & POLLOUT) or (mask & POLLERR and self.file.is_pipe))

    def may_have_ended(self):
        """By an event that was collected, and not handed out yet."""
        if not self.file.pollable:
            return not self.look
        rdhup = self.updated and self.until_hangup and self.may() & POLLRDHUP
        return bool((self.oneshot and self.may()) or self.is_hangup(self.may()) or rdhup)

    def check(self, poll, got):
        """Compares a collection's events of this poll, and takes on how it ended."""
        if self.cancelled:
            assert got == [-errno.ECANCELED] and not got[0].more, got
            self.cancelled = False
            got = []
        elif not self.active:
            assert not got, f"{got} after its end"
        elif not self.file.pollable:
            first, now = (POLLIN | POLLOUT) & self.looked_for, (POLLIN | POLLOUT) & self.asked
            mask = (first and (first & now or now)) or -errno.EINVAL  # where the kernel has nothing to tell
            assert got == [mask] and not got[0].more, got
            self.end("error" if mask < 0 else "oneshot" if self.oneshot else "unpollable")
        else:
            self.check_masks(got)
        assert (poll.active, poll.end_reason) == (self.active, self.reason)

    def check_masks(self, got):
        must, may, seen, ended = self.must(), self.may(), 0, None
        for mask in got:
            assert mask > 0, got
            assert not ended, f"{got} after its end"
            seen |= mask
            hangup = self.is_hangup(mask)
            if self.updated and self.until_hangup and mask & POLLRDHUP and not mask & (POLLHUP | POLLERR):
                hangup = not mask.more  # it was collected before or after the update
            ended = "oneshot" if self.oneshot else "hangup" if hangup else None
            assert mask.more == (ended is None), f"more is {mask.more} with {mask!r}"
        assert not must & ~seen or ended, f"{pollring.Events(must)!r} had to come, {got} came"
        assert not must or seen, f"{pollring.Events(must)!r} had to come"
        assert not seen & ~may, f"{got} came, more than {pollring.Events(may)!r}"
        self.forget()
        if ended:
            self.end(ended)


# ---- the worlds: a backend each, with files and polls of its own ----

class World:
    """A ring, and the model of it beside. Every step is carried out on both, and compared."""

    def __init__(self, name, **options):
        self.name, self.options = name, options
        self.ring = pollring.Ring(**options)
        # Whether one wake-up may tell more than its bits: what else the file is ready for by then.
        self.full_state = self.ring.backend == "epoll" or "cq_entries" in options
        self.files, self.polls, self.expected, self.got = [], [], [], []

    # Each step returns what a user sees of it, to be the same in all worlds.

    def open(self, kind):
        self.files.append(KINDS[kind]())

    def change(self, step, index, side):
        """A step on a file: who is woken by it?"""
        file = self.files[index]
        side %= len(file.fds)
        if file.fds[side] < 0 and step != "reopen":
            return None
        if step == "close":
            self.remove_fd(index, side)
        before = [state(fd) if fd >= 0 else 0 for fd in file.fds]
        woken = getattr(file, step)(side)
        if woken is None:
            return None
        for poll in self.expected:
            if poll.file is file and file.fds[poll.side] >= 0:
                gained = poll.state() & ~before[poll.side]
                if bits := woken.get(poll.side) or gained:
                    poll.woken(bits)
                    poll.wakes += step == "fill"  # more than one buffer: more than one wake-up
                poll.maybe_woken(file.maybe.get(step, {}).get(poll.side ^ side, 0))
        return True

    def add(self, index, side, events, options):
        file = self.files[index]
        side %= len(file.fds)
        if file.fds[side] < 0:
            return None
        self.polls.append(self.ring.poll_add(file.fds[side], events, data=len(self.polls), **options))
        self.expected.append(Expected(self, file, side, events, options))
        self.got.append([])
        return True

    def has_ended(self, index):
        """Whether a poll has, as itself says; and may it?"""
        poll, expected = self.polls[index], self.expected[index]
        assert poll.active == expected.active or expected.may_have_ended()
        return not poll.active

    def arm(self, index):
        poll, expected = self.polls[index], self.expected[index]
        if expected.file.fds[expected.side] != poll.fd or expected.cancelled or expected.active != poll.active:
            return None  # its number may be another file's by now; its last event is still to come
        try:
            poll.arm()
            assert not expected.active
        except OSError as error:
            assert error.errno == errno.EALREADY and expected.active
        else:
            expected.arm()
        return True

    def update(self, index, events):
        """Asks for other bits, or looks again for the same."""
        poll, expected = self.polls[index], self.expected[index]
        try:
            poll.recheck() if events == expected.asked else poll.update(events)
            assert expected.active
        except OSError as error:
            assert error.errno == errno.ENOENT and self.has_ended(index)
        else:
            expected.update(events)

    def recheck(self, index):
        self.update(index, self.expected[index].asked)

    def remove(self, index):
        if not self.has_ended(index):
            self.expected[index].remove()
        self.polls[index].remove()

    def remove_fd(self, index, side):
        file = self.files[index]
        side %= len(file.fds)
        if file.fds[side] < 0:
            return
        of_this = [poll for index, poll in enumerate(self.expected)
                   if poll.file is file and poll.side == side and not self.has_ended(index)]
        assert self.ring.remove_fd(file.fds[side]) == len(of_this)
        for poll in of_this:
            poll.remove()

    def submit(self):
        self.ring.submit()
        self.requests_sent()

    def requests_sent(self):
        for poll in self.expected:
            poll.request_sent()

    def look(self):
        """After each step: what the files are ready for now may be told too."""
        for poll in self.expected:
            poll.step_done()

    def collect(self):
        """Waits until there is nothing more, and all has come that has to."""
        self.requests_sent()
        self.look()
        deadline = time.monotonic() + GUARD
        while True:
            while batch := self.ring.wait(0):
                for poll, events in batch:
                    self.got[poll.data].append(events)
            if not any(poll.must() and not got for poll, got in zip(self.expected, self.got)):
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.001)
        seen = [self.check(index) for index in range(len(self.polls))]
        assert self.ring.active == sum(poll.active for poll in self.expected)
        return seen

    def collect_one(self, index):
        """The same for one poll, as an iterator: the events of others wait for them."""
        self.requests_sent()
        self.look()
        poll, expected = self.polls[index], self.expected[index]
        if expected.cancelled:
            assert poll.wait(0) is None
            expected.cancelled = False
            return None
        deadline = time.monotonic() + GUARD
        while True:
            while events := self.wait_for(poll):
                self.got[index].append(events)
            if not expected.must() or self.got[index] or time.monotonic() > deadline:
                return self.check(index)

    def wait_for(self, poll):
        try:
            return poll.wait(0)
        except OSError as error:
            return pollring.Events(-error.errno, False)

    def check(self, index):
        """What came of a poll since the last time, compared with the model."""
        got, poll, expected = self.got[index], self.polls[index], self.expected[index]
        self.got[index] = []
        possible, was_active, late = expected.state(), expected.active, expected.late
        try:
            expected.check(poll, got)
        except AssertionError as error:
            raise AssertionError(f"{self.name}: {poll!r} of {type(expected.file).__name__}: {error}") from None
        seen = 0
        for events in got:
            seen |= max(events, 0)
        return Seen(expected, seen, possible, was_active, late)

    def close(self):
        self.ring.close()
        for fd in (fd for file in self.files for fd in file.fds if fd >= 0):
            os.close(fd)

    def check_closed(self):
        for poll, expected in zip(self.polls, self.expected):
            assert (poll.active, poll.end_reason) == (False, "closed" if expected.active else expected.reason)


class Seen:
    """What a collection told of one poll."""

    def __init__(self, expected, mask, possible, was_active, late):
        self.mask, self.possible, self.was_active, self.late = mask, possible, was_active, late
        self.asked, self.file = expected.asked, expected.file
        self.end = expected.reason


# ---- where the backends differ: docs/backends.md has a line for each ----

# For each the bits that io_uring may tell beyond what epoll tells, and the other way round.
DIFFERENCES = {
    "written, and read again before the collection":
        lambda uring, epoll: (~uring.possible, 0),
    "the bits of an event":
        lambda uring, epoll: (0, epoll.possible if uring.mask else 0),
    "POLLPRI asked for, on a socket":
        lambda uring, epoll: (POLLPRI if isinstance(uring.file, (Stream, Udp)) and uring.mask & POLLIN else 0, 0),
}


def compare(uring, epoll):
    """Two collections of the same poll: every difference is one of the table's."""
    if (uring.was_active, uring.asked) != (epoll.was_active, epoll.asked):  # one had ended, by an earlier difference
        return
    late = uring.late | epoll.late
    more_in_uring, more_in_epoll = uring.mask & ~epoll.mask & ~late, epoll.mask & ~uring.mask & ~late
    for bits in DIFFERENCES.values():
        uring_bits, epoll_bits = bits(uring, epoll)
        more_in_uring &= ~uring_bits
        more_in_epoll &= ~epoll_bits
    assert not more_in_uring and not more_in_epoll, (
        f"io_uring told {pollring.Events(uring.mask)!r}, epoll {pollring.Events(epoll.mask)!r}")
    if uring.was_active and uring.mask == epoll.mask:
        assert uring.end == epoll.end


# ---- the scripts ----

EVENTS = strategies.sampled_from([POLLIN, POLLIN | POLLOUT, POLLOUT, POLLIN | POLLPRI, POLLIN | POLLRDHUP, 0])
OPTIONS = strategies.fixed_dictionaries({"multishot": strategies.sampled_from([True, True, True, False]),
                                         "until_hangup": strategies.booleans()})
FILES, POLLS = 2, 6  # few, so that much happens to each
FILE, POLL, SIDE = (strategies.integers(0, most - 1) for most in (FILES, POLLS, 2))
POLL_TO_ADD = strategies.tuples(FILE, SIDE, EVENTS, OPTIONS)
STEP = strategies.runner().flatmap(lambda machine: strategies.sampled_from(machine.steps))


class Scripts(stateful.RuleBasedStateMachine):
    """Each step is carried out in both worlds; what it returns has to be the same, but for the table."""

    kinds, options = (), {}

    def __init__(self):
        super().__init__()
        of_both = {key: value for key, value in self.options.items() if key != "setup"}
        self.worlds = [World("io_uring", backend="io_uring", **self.options),
                       World("epoll", backend="epoll", **of_both)]
        self.steps = list(dict.fromkeys(step for kind in self.kinds for step in KINDS[kind].steps))
        for kind in self.kinds:
            self.both("open", kind)
        self.polls = 0

    def both(self, method, *arguments):
        results = [getattr(world, method)(*arguments) for world in self.worlds]
        for world in self.worlds:
            world.look()
        return results

    def add(self, poll):
        done = self.both("add", *poll)
        assert done[0] == done[1]
        self.polls = len(self.worlds[0].polls)

    @initialize(polls=strategies.lists(POLL_TO_ADD, min_size=2, max_size=4))
    def add_polls(self, polls):
        for poll in polls:
            self.add(poll)

    @precondition(lambda self: self.polls < POLLS)
    @rule(poll=POLL_TO_ADD)
    def add_poll(self, poll):
        self.add(poll)

    @rule(steps=strategies.lists(strategies.tuples(STEP, FILE, SIDE, strategies.booleans()), min_size=2, max_size=6))
    def change(self, steps):
        for step, file, side, collect in steps:
            done = self.both("change", step, file, side)
            if done == [None, None]:  # then the other end may
                done = self.both("change", step, file, 1 - side)
            assert done[0] == done[1]
            if collect:
                self.collect()

    @precondition(lambda self: self.polls)
    @rule(poll=POLL, step=strategies.sampled_from(["recheck", "arm", "remove"]))
    def control(self, poll, step):
        self.both(step, poll % self.polls)

    @precondition(lambda self: self.polls)
    @rule(poll=POLL, events=EVENTS)
    def update(self, poll, events):
        self.both("update", poll % self.polls, events)

    @rule()
    def submit(self):
        self.both("submit")

    @rule()
    def collect(self):
        for uring, epoll in zip(*self.both("collect")):
            compare(uring, epoll)

    @precondition(lambda self: self.polls)
    @rule(poll=POLL)
    def collect_one(self, poll):
        uring, epoll = self.both("collect_one", poll % self.polls)
        if uring and epoll:
            compare(uring, epoll)

    def teardown(self):
        try:
            self.collect()
        finally:
            for world in self.worlds:
                world.close()
        for world in self.worlds:
            world.check_closed()


SETS = [["pipe"], ["fifo"], ["stream"], ["tcp"], ["udp"], ["eventfd"], ["timerfd"], ["stream", "eventfd"],
        ["regularfile", "pipe"], ["devnull", "directory"]]
OPTIONS_OF_RINGS = {"default": {}, "tiny": {"entries": 2, "cq_entries": 4}, "coop_taskrun": {"setup": "coop_taskrun"},
                    "plain": {"setup": "plain"}}
SECONDS = float(os.environ.get("DIFFERENTIAL_SECONDS", 0))
CASES = [pytest.param(kinds, name, id=f"{'-'.join(kinds)}-{name}") for kinds in SETS for name in OPTIONS_OF_RINGS
         if SECONDS or len(kinds) > 1 or name in ("default", "tiny")]


@pytest.mark.parametrize("kinds, name", CASES)
def test_scripts(kinds, name):
    signal.alarm(int(60 * PATIENCE + 3 * SECONDS))  # conftest's limit is for one script
    machine = type("Scripts", (Scripts,), {"kinds": (kinds * FILES)[:FILES], "options": OPTIONS_OF_RINGS[name]})
    chosen = settings(max_examples=5 if SECONDS else 20, stateful_step_count=20, deadline=None, database=None,
                      print_blob=True, derandomize=not SECONDS, suppress_health_check=list(HealthCheck))
    end = time.monotonic() + SECONDS / len(CASES)
    while True:
        if SECONDS:
            hypothesis.seed(random.randrange(1 << 32))(machine)
        stateful.run_state_machine_as_test(machine, settings=chosen)
        if time.monotonic() >= end:
            return
