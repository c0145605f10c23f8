"""One poll: a ``POLL_ADD`` request, and the iterator over its events."""

from __future__ import annotations

from . import _pollring
from ._event import Events

TYPE_CHECKING = False  # importing typing for it takes longer than all of ours
if TYPE_CHECKING:
    from typing import Any, Coroutine, Optional

    from ._async import Stream


class Poll(_pollring.Poll):
    """One armed ``POLL_ADD`` request. :meth:`Ring.poll_add` makes them.

    ``for events in poll`` sleeps for each event and ends when the poll has: on removal, on hangup, after the event of a
    one-shot. An error, such as a bad file descriptor, is raised as OSError. Once a poll is iterated only its users keep
    it: leaving the loop and dropping it removes it. Until then the ring does, as long as it is active.

    ``async for events in poll`` does the same in a task of asyncio or trio, one task a poll; any number of tasks may share
    a ring. A task that is cancelled leaves the poll armed. The ring's events are taken for its tasks then, and
    :meth:`Ring.wait` in their event loop is refused with RuntimeError.

    ``with ring.poll_add(sock) as poll`` removes it on leaving, and so does ``async with``.

    A poll outlives its ring, and still tells how it ended. All methods are for the thread that owns the ring.
    """

    __slots__ = ("_stream",)  # of _async.py
    _stream: "Stream"

    @property
    def fd(self) -> int:
        """The number of the file, as it was when the poll was added."""
        return _pollring.poll_fd(self)

    @property
    def events(self) -> int:
        """The bits that are asked for, with EPOLLEXCLUSIVE: an int, which ``str(Events(poll.events))`` names."""
        return _pollring.poll_events(self)

    @property
    def active(self) -> bool:
        """Whether it is armed now."""
        return _pollring.poll_active(self)

    @property
    def end_reason(self) -> Optional[str]:
        """How it ended: "removed", "hangup", "error", "oneshot", "unpollable" (a regular file, a directory, /dev/null:
        the kernel doesn't poll those), "overflow" (with rearm=False), "closed" (its ring was). None while it is active.
        """
        return _pollring.poll_end_reason(self)

    def update(self, events: int) -> None:
        """Asks for other events, from the next wait on. An event comes if the file is ready then; bits that are no longer
        asked for are dropped. OSError with ENOENT if the poll has ended."""
        _pollring.poll_update(self, events)

    def recheck(self) -> None:
        """Asks the kernel to look again: an event comes if the file is ready at the next wait. For a reader that stopped
        before BlockingIOError. OSError with ENOENT if the poll has ended."""
        _pollring.poll_recheck(self)

    def arm(self) -> None:
        """Arms a poll that has ended again, with the same file and events. OSError with EALREADY if it is active."""
        _pollring.poll_arm(self)

    def remove(self) -> None:
        """Removes the poll. On return the kernel has let the file go, so that a close() after it reaches the peer. Events
        that were not taken are dropped; a wait gets ``-ECANCELED`` as the poll's last, an iterator stops. Harmless on a
        poll that has ended."""
        _pollring.poll_remove(self)

    def __enter__(self) -> "Poll":
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    # ---- asynchronous iteration ----

    def __aiter__(self) -> "Poll":
        iter(self)  # from here on only its users keep it
        return self

    def __anext__(self) -> Coroutine[Any, Any, Events]:
        from ._async import next_events

        return next_events(self)

    async def __aenter__(self) -> "Poll":
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        state = "active" if self.active else f"ended: {self.end_reason}"
        return f"<pollring.Poll fd={self.fd} {_pollring.names(self.events)} {state}>"
