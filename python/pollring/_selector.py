"""RingSelector: the stdlib's selectors, over a ring."""

import os
import selectors
import stat
import threading
import time
from errno import EPERM
from typing import Any, Dict, List, Optional, Set, Tuple

from . import _pollring
from ._poll import Poll
from ._ring import Ring, check_options

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


def _mask(events: int) -> int:
    return (_pollring.POLLIN if events & _READ else 0) | (_pollring.POLLOUT if events & _WRITE else 0)


class RingSelector(selectors._BaseSelectorImpl):
    """A drop-in for :class:`selectors.EpollSelector`: level-triggered, and usable from several threads.

    A ring tells edges. So what was ready, or has had an event since, is asked by one poll(2) in each select(), and only
    what that confirms is reported: no stale event, and what was not read up comes again.

    What other threads register, modify or unregister during a select() takes effect at once: the sleeper is woken. A file
    that another thread unregisters is held by the ring until then. Each thread may call select(), one at a time; every
    change of threads costs making the ring anew.

    :param options: of the :class:`Ring`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        check_options("RingSelector", options)
        self._ring = Ring(**options)
        self._lock = threading.RLock()  # of the fields below
        self._turn = threading.Lock()  # held in select()
        self._owner: Optional[int] = None  # the thread that selected last, which owns the ring
        self._polls: Dict[int, Poll] = {}
        self._added: Dict[int, int] = {}  # fd: mask; what the owner hasn't carried out yet, as the next two
        self._updated: Dict[int, int] = {}
        self._removed: List[Poll] = []
        self._ready: Set[Poll] = set()  # by the last poll(2)

    # ---- changes ----

    def _carry_out(self) -> None:
        """Carries the changes out where this thread may, else wakes the one that may."""
        if self._owner not in (None, threading.get_ident()):
            self._ring.wake()
            return
        for poll in self._removed:
            self._ready.discard(poll)
            poll.remove()
        for fd, mask in self._added.items():
            self._polls[fd] = self._ring.poll_add(fd, mask, until_hangup=False)
        for fd, mask in self._updated.items():
            if self._polls[fd].active:
                self._polls[fd].update(mask)
        self._added, self._updated, self._removed = {}, {}, []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watches a file for EVENT_READ, EVENT_WRITE or both. PermissionError for a regular file or a directory."""
        with self._lock:
            key = super().register(fileobj, events, data)
            try:
                mode = os.fstat(key.fd).st_mode
                if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # as epoll does
                    raise PermissionError(EPERM, f"{os.strerror(EPERM)}: fd {key.fd} is always ready")
            except OSError:
                super().unregister(fileobj)
                raise
            self._added[key.fd] = _mask(events)
            self._carry_out()
            return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """No longer watches a file. In the thread that selects it has been let go on return."""
        with self._lock:
            key = super().unregister(fileobj)
            if self._added.pop(key.fd, None) is None:
                self._updated.pop(key.fd, None)
                self._removed.append(self._polls.pop(key.fd))
                self._carry_out()
            return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watches a file for other events, or with other data."""
        with self._lock:
            key = super().get_key(fileobj)
            if events & ~(_READ | _WRITE) or not events:
                raise ValueError(f"Invalid events: {events!r}")
            if events != key.events:
                waiting = self._added if key.fd in self._added else self._updated
                waiting[key.fd] = _mask(events)
                self._carry_out()
            key = key._replace(events=events, data=data)
            self._fd_to_key[key.fd] = key  # type: ignore[attr-defined]
            return key

    # ---- selecting ----

    def _key_events(self, poll: Poll, mask: int) -> Optional[Tuple[selectors.SelectorKey, int]]:
        key = self._fd_to_key.get(poll.fd)  # type: ignore[attr-defined]
        if key is None or self._polls.get(poll.fd) is not poll:
            return None
        events = (_WRITE if mask & ~_pollring.POLLIN else 0) | (_READ if mask & ~_pollring.POLLOUT else 0)
        return (key, events & key.events) if events & key.events else None

    def _look(self, timeout: Optional[float]) -> List[Tuple[selectors.SelectorKey, int]]:
        """Waits for events unless something was ready, then asks what is ready now."""
        with self._lock:
            self._carry_out()
        fired = self._ring.wait(0 if self._ready else timeout)
        with self._lock:
            self._carry_out()
            candidates = self._ready.union(poll for poll, _ in fired)
            ready = _pollring.ready([poll for poll in candidates if self._polls.get(poll.fd) is poll])
            self._ready = {poll for poll, _ in ready}
            return [found for poll, mask in ready if (found := self._key_events(poll, mask))]

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        """Waits up to timeout seconds (None: for ever) for files that are ready: a list of (key, events), [] at the
        timeout."""
        try:
            deadline = None if timeout is None else time.monotonic() + max(timeout, 0)
        except TypeError:
            raise TypeError(f"timeout must be None or a number of seconds, not {type(timeout).__name__}") from None

        def left() -> Optional[float]:
            return None if deadline is None else max(deadline - time.monotonic(), 0.0)

        limit = left()
        if not self._turn.acquire(timeout=-1 if limit is None else limit):
            return []
        try:
            if self._owner not in (None, threading.get_ident()):
                self._ring.adopt()
            self._owner = threading.get_ident()
            while True:
                limit = left()
                ready = self._look(limit)
                if ready or limit == 0:
                    return ready
        finally:
            self._turn.release()

    def close(self) -> None:
        """Ends the ring. From any thread, but not during another one's select()."""
        with self._lock:
            if not self._ring.closed and self._owner not in (None, threading.get_ident()):
                self._ring.adopt()
            self._ring.close()
            self._polls.clear()
            self._added, self._updated, self._removed, self._ready = {}, {}, [], set()
            super().close()
