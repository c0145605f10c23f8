"""Asynchronous iteration over polls, under asyncio (any of its loops) and trio. Imported when it is first used; imports
neither of them.

A ring whose polls are iterated asynchronously has a driver: it watches ``ring.fileno()`` in the event loop, takes all
events of the ring when that is readable, puts each on the stream of its poll and wakes the task that waits there. So one
task's cancellation costs no other's event, and a task that is busy finds its events when it comes back.
"""

import errno
import sys
import threading
from collections import deque
from typing import Any, AsyncGenerator, Deque, Dict, Optional, Tuple, Type

from . import _pollring
from ._event import Events
from ._ring import Ring


class Stream:
    """What was taken for a poll and not yet iterated over, and who waits for more."""

    __slots__ = ("events", "waiter")

    def __init__(self) -> None:
        self.events: Deque[Events] = deque()
        self.waiter: Any = None


def stream_of(poll: Any) -> Stream:
    try:
        return poll._stream  # type: ignore[no-any-return]
    except AttributeError:
        poll._stream = Stream()
        return poll._stream  # type: ignore[no-any-return]


class Driver:
    """Takes a ring's events for the tasks of one event loop. What differs between loops is in the two classes below."""

    def __init__(self, ring: Ring, loop: Any) -> None:
        self.ring = ring
        self.loop = loop  # what _running() told
        self.waiting: Dict[Stream, Any] = {}

    def take(self) -> None:
        """Takes everything that is there. Never sleeps."""
        for poll, events in self.ring._take():
            stream = stream_of(poll)
            if len(stream.events) >= MOST_EVENTS and events.more and stream.events[-1].more:
                events = Events(stream.events.pop() | events, True)
            stream.events.append(events)
            if stream.waiter is not None:
                self.wake(stream.waiter)

    def check_wait(self) -> None:
        """A wait on the ring, in its loop, would take the tasks' events: RuntimeError."""
        try:
            here = _running()[1] is self.loop
        except RuntimeError:
            return
        if here:
            raise RuntimeError("tasks iterate over polls of this ring, and a wait would take their events: write "
                               "`async for`, or open another ring")

    async def next(self, poll: Any) -> Optional[Events]:
        """The poll's next event; None where it has ended."""
        stream = stream_of(poll)
        if stream.waiter is not None:
            raise RuntimeError(f"fd {poll.fd}: another task waits for this poll already; add a poll for each task")
        while not stream.events:
            if not self.ring.closed:
                self.take()
            if stream.events:
                break
            if not poll.active:
                return None
            try:
                await self.wait(stream)
            except BaseException:
                del poll  # as in next_events()
                raise
        return stream.events.popleft()

    def wake(self, waiter: Any) -> None:
        raise NotImplementedError

    async def wait(self, stream: Stream) -> None:
        """Returns when there may be something on the stream, or its ring was closed."""
        raise NotImplementedError

    def stop(self) -> None:
        """Before the ring is closed: its fd is let go, and every task wakes to find its poll ended."""
        raise NotImplementedError


#: A task that stays away finds so many events of its poll, and what came later OR-ed into the last.
MOST_EVENTS = 4096


class AsyncioDriver(Driver):
    def __init__(self, ring: Ring, loop: Any) -> None:
        super().__init__(ring, loop)
        self.watched = -1  # the ring's fd, while the loop watches it

    def wake(self, waiter: Any) -> None:
        if not waiter.done():
            waiter.set_result(None)

    def unwatch(self) -> None:
        if self.watched >= 0:
            self.loop.remove_reader(self.watched)
            self.watched = -1

    def readable(self) -> None:
        try:
            self.take()
        except BaseException as error:
            self.unwatch()
            for stream in self.waiting:
                if not stream.waiter.done():
                    stream.waiter.set_exception(error)
        if not self.waiting:  # nobody would take what comes next, and the fd would stay readable
            self.unwatch()

    async def wait(self, stream: Stream) -> None:
        if self.watched < 0:
            self.watched = self.ring.fileno()
            self.loop.add_reader(self.watched, self.readable)
        stream.waiter = self.waiting[stream] = self.loop.create_future()
        try:
            await stream.waiter
        finally:
            del self.waiting[stream]
            stream.waiter = None

    def stop(self) -> None:
        if not self.loop.is_closed():
            self.unwatch()
            for waiter in self.waiting.values():
                self.wake(waiter)


class TrioDriver(Driver):
    """trio lets one task wait for a file: the first waits for all, and hands that on when it leaves."""

    def __init__(self, ring: Ring, loop: Any) -> None:
        super().__init__(ring, loop)
        self.reading: Optional[Stream] = None

    def wake(self, waiter: Any) -> None:
        waiter.set()

    async def wait(self, stream: Stream) -> None:
        import trio

        stream.waiter = self.waiting[stream] = trio.Event()
        try:
            if self.reading is not None:
                await stream.waiter.wait()
                return
            self.reading = stream
            try:
                await trio.lowlevel.wait_readable(self.ring.fileno())
            except trio.ClosedResourceError:  # by stop()
                pass
            finally:
                self.reading = None
        finally:
            del self.waiting[stream]
            stream.waiter = None
            if self.reading is None:
                for waiter in self.waiting.values():  # one of them reads from here on
                    waiter.set()
                    break

    def stop(self) -> None:
        if self.waiting:
            import trio

            trio.lowlevel.notify_closing(self.ring.fileno())
        for waiter in self.waiting.values():
            waiter.set()


def _running() -> Tuple[Type[Driver], Any]:
    """The driver for what runs in this thread, and what identifies that."""
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio")
    if asyncio and asyncio._get_running_loop():
        return AsyncioDriver, asyncio.get_running_loop()
    if trio:
        try:
            return TrioDriver, trio.lowlevel.current_trio_token()
        except RuntimeError:
            pass
    raise RuntimeError("no running event loop: asynchronous iteration needs asyncio or trio")


def running() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        _running()
    except RuntimeError:
        return False
    return True


def driver(ring: Ring) -> Driver:
    """The ring's driver in the running event loop."""
    kind, loop = _running()
    current = ring._driver
    if current is None or current.loop is not loop:
        current = ring._driver = kind(ring, loop)
    return current


async def next_events(poll: Any) -> Events:
    """What ``async for`` calls. Who keeps a cancelled task keeps the frames of the exception's traceback: none of them may
    hold the poll, which would hold the file."""
    fd = poll.fd
    coming = driver(poll.ring).next(poll)
    del poll
    events = await coming
    if events is None or events == -errno.ECANCELED:
        raise StopAsyncIteration
    if events < 0:
        _pollring.raise_error(events, fd)
    return events


# ---- the rings of watch() ----


class _RingsOfLoops(threading.local):
    """This thread's rings, one for each event loop."""

    def __init__(self) -> None:
        self.rings: Dict[Any, Tuple[Ring, AsyncGenerator[None, None]]] = {}


_loops = _RingsOfLoops()


async def _close_with_loop(loop: Any, ring: Ring) -> AsyncGenerator[None, None]:
    """An event loop ends its asynchronous generators before it is closed."""
    try:
        yield
    finally:
        _loops.rings.pop(loop, None)
        ring.close()


def ring_of_loop() -> Ring:
    """This thread's ring for watch() in the running event loop, made on demand, closed with the loop."""
    loop = _running()[1]
    if loop not in _loops.rings:
        for other, (ring, _) in list(_loops.rings.items()):  # those that ended without saying so
            if hasattr(other, "is_closed") and other.is_closed():  # asyncio's
                del _loops.rings[other]
                ring.close()
        ring = Ring()
        closer = _close_with_loop(loop, ring)
        try:
            closer.__anext__().send(None)  # up to its yield, so that the loop knows of it
        except StopIteration:
            pass
        _loops.rings[loop] = ring, closer
    return _loops.rings[loop][0]
