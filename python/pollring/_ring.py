"""The ring: one io_uring instance, owned by one thread."""

from __future__ import annotations

from . import _pollring
from ._event import Events
from ._poll import Poll

TYPE_CHECKING = False  # importing typing for it takes longer than all of ours
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple

_BACKENDS = {"auto": _pollring.AUTO, "io_uring": _pollring.IO_URING, "epoll": _pollring.EPOLL}
_SETUPS = {
    "auto": 0,
    "defer_taskrun": _pollring.SETUP_DEFER_TASKRUN,
    "coop_taskrun": _pollring.SETUP_COOP_TASKRUN,
    "plain": _pollring.SETUP_PLAIN,
}


def probe() -> Dict[str, Any]:
    """What this machine allows, found by trying: a dict of

    - ``kernel``: its release
    - ``backend``: what a ring takes by itself here
    - ``io_uring``: 0 if it works, else the negative errno of the first refusal
    - ``setups``: the names of the ring set-ups that work, best first
    - ``sysctl_disabled``: /proc/sys/kernel/io_uring_disabled (0 to 2), -1 where there is none
    - ``resize``: whether the kernel can resize the completion queue of a "defer_taskrun" ring
    - ``cause``: what refuses: "sysctl", "seccomp", "kernel", "memlock", "fd_limit", "memory", "unknown"; "" if it works
    - ``refused_at``: at which step: "setup", "register", "enter"; "" if it works
    - ``message``: for a refusal, what refused and what to do; else empty
    - ``lacks``: what newer kernels have of use to pollring, and what it does here instead: a sentence each
    """
    return _pollring.probe()


def _choice(name: str, choices: Dict[str, int], value: str) -> int:
    try:
        return choices[value]
    except (KeyError, TypeError):
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}") from None


def _number(name: str, value: int, most: int, least: int = 0) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name} {value} is out of range: {least} to {most}")
    return value


def check_options(function: str, options: Dict[str, Any]) -> None:
    """Options of a ring that another function takes: the TypeError names that one, not Ring.__init__()."""
    for name in options.keys() - {"entries", *(Ring.__init__.__kwdefaults__ or ())}:
        raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")


class Ring(_pollring.Ring):
    """One io_uring instance, or an epoll where io_uring is refused.

    It belongs to the thread that first waits or submits on it; another one gets RuntimeError from everything but
    :meth:`wake` and :meth:`adopt`. In a forked child every call fails but :meth:`close`.

    :param entries: of the submission queue, 1 to 32768. It limits nothing: a full queue submits by itself.
    :param cq_entries: of the completion queue, up to 65536; 0: 4096, or twice *entries* if that is more. More events than
        that at once cost re-arming, and lose nothing.
    :param backend: "auto" takes io_uring where it can be had, else epoll; "io_uring" insists on it; "epoll".
    :param sealed: the kernel refuses all but pollring's own operations through the ring's fd.
    :param busy_poll: microseconds to spin before sleeping.
    :param setup: insists on one way to set the ring up: "defer_taskrun", "coop_taskrun" or "plain".
    :param pinned: promises that the ring stays with its thread, which makes each system call cheaper.
    :raises OSError: io_uring is insisted on and refused, or resources are short; the text says which, and what to do.
    """

    __slots__ = ()

    def __init__(self, entries: int = 256, *, cq_entries: int = 0, backend: str = "auto", sealed: bool = False,
                 busy_poll: int = 0, setup: str = "auto", pinned: bool = False) -> None:
        flags = _choice("setup", _SETUPS, setup)
        flags |= (_pollring.SEALED if sealed else 0) | (_pollring.PINNED if pinned else 0)
        if backend == "epoll" and setup != "auto":
            raise ValueError(f"setup {setup!r} is one of io_uring, which backend 'epoll' hasn't")
        super().__init__(_number("entries", entries, 32768, least=1), _number("cq_entries", cq_entries, 65536), flags,
                         _choice("backend", _BACKENDS, backend), _number("busy_poll", busy_poll, 1000000))

    # ---- polls ----

    def poll_add(self, fileobj: Any, events: int = _pollring.POLLIN, *, multishot: bool = True, exclusive: bool = False,
                 rearm: bool = True, until_hangup: bool = True, data: Any = None) -> Poll:
        """Arms a poll of a file: an int, or anything with fileno(), which is kept alive with the poll. The request goes
        out with the next wait, iteration or submit().

        It is level-triggered once, when it is armed (a file that is ready is reported at once), and edge-triggered from
        there on: one event a wake-up, silence while data stays unread.

        :param events: POLL* bits. 0 asks for hangup and errors only. Sockets: arm after connect().
        :param multishot: False: one event, then it has ended.
        :param exclusive: EPOLLEXCLUSIVE: of several rings on one file not all are woken.
        :param rearm: arm again what the kernel ended because the completion queue was full.
        :param until_hangup: a hangup ends the poll. False for a FIFO or a pty master, whose peer can come back.
        :param data: kept as ``poll.data``.
        """
        flags = ((0 if multishot else _pollring.ONESHOT) | (0 if rearm else _pollring.NO_REARM)
                 | (0 if until_hangup else _pollring.KEEP_HANGUP))
        if exclusive and isinstance(events, int):  # what isn't is refused below
            events |= _pollring.EPOLLEXCLUSIVE
        return Poll(self, fileobj, events, flags, data)

    def remove_fd(self, fileobj: Any) -> int:
        """Removes every poll of one file, before it is closed: an armed poll holds the file open. Returns how many."""
        return _pollring.remove_fd(self, fileobj)

    # ---- events: wait() is in C ----

    def events(self) -> Iterator[Tuple[Poll, Events]]:
        """Iterates over the events of all polls, one by one, until no poll is active. Closing the ring in the loop ends
        it. A poll that is removed in the loop has its events dropped; its last is ``-ECANCELED``."""
        while True:
            batch: List[Tuple[Poll, Events]] = self.wait(None if self.active else 0, 1)
            if batch:
                yield batch[0]
            if self.closed or not (batch or self.active):
                return

    def submit(self) -> None:
        """Sends queued requests to the kernel now, and collects nothing."""
        _pollring.submit(self)

    def wake(self) -> None:
        """Makes the owner's running or next wait() return early, with []. For other threads and signal handlers."""
        _pollring.wake(self)

    def fileno(self) -> int:
        """An fd that is readable whenever ``wait(0)`` would do something, and wakes a loop that sleeps on it. Watch it,
        never read or close it."""
        return _pollring.fileno(self)

    # ---- the ring itself ----

    def adopt(self) -> None:
        """Makes the calling thread the owner; active polls are armed again. The thread before it must not be inside a
        call of the ring."""
        _pollring.adopt(self)

    @property
    def backend(self) -> str:
        """ "io_uring" or "epoll"."""
        return _pollring.backend(self)

    @property
    def active(self) -> int:
        """How many polls are armed."""
        return _pollring.active(self)

    def stats(self) -> Dict[str, Any]:
        """Figures since the ring was opened: ``setup`` (the set-up that stuck), ``entries``, ``cq_entries``, ``active``
        polls, ``queued`` events; system calls made (``enters``), ``requests`` submitted, ``events`` handed out; polls
        ``rearmed`` after overflow, events ``merged`` into the one before, completions ``dropped``; bytes of ``memory``.
        """
        return _pollring.stats(self)

    def close(self) -> None:
        """Ends every poll and releases its file before it returns. Harmless on a closed ring.

        In a forked child it releases the child's memory only. From another thread than the ring's owner only after that
        has ended."""
        if self._driver and not self.closed:
            self._driver.stop()
        super().close()

    def __enter__(self) -> "Ring":
        return self

    def __exit__(self, *exception: Optional[object]) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return "<pollring.Ring closed>"
        return f"<pollring.Ring {self.backend} active={self.active}>"
