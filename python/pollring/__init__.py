"""Linux's multishot poll: one request that keeps posting events.

>>> with pollring.Ring() as ring:
...     for events in ring.poll_add(sock):
...         print(events, sock.recv(4096))
"""

from __future__ import annotations

import sys

if "linux" not in sys.platform:  # so put that type checkers elsewhere go on
    raise ImportError(f"pollring is for Linux: multishot poll is a request of its io_uring, which {sys.platform} has not")

from ._event import Events
from ._poll import Poll
from ._pollring import (
    EPOLLEXCLUSIVE,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLMSG,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
    VERSION as __version__,
)
from ._ring import Ring, probe
from ._watch import watch

TYPE_CHECKING = False  # importing typing for it takes longer than all of ours
if TYPE_CHECKING:
    from typing import Any

    from ._loop import EventLoop, EventLoopPolicy, new_event_loop, run
    from ._selector import RingSelector

_LATER = {
    "EventLoop": "_loop",
    "EventLoopPolicy": "_loop",
    "RingSelector": "_selector",
    "new_event_loop": "_loop",
    "run": "_loop",
}


def __getattr__(name: str) -> Any:
    """What needs more of the stdlib than a ring does is imported when it is first asked for."""
    if name in _LATER:
        from importlib import import_module

        globals()[name] = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


__all__ = [
    "EPOLLEXCLUSIVE",
    "EventLoop",
    "EventLoopPolicy",
    "Events",
    "POLLERR",
    "POLLHUP",
    "POLLIN",
    "POLLMSG",
    "POLLNVAL",
    "POLLOUT",
    "POLLPRI",
    "POLLRDBAND",
    "POLLRDHUP",
    "POLLRDNORM",
    "POLLWRBAND",
    "POLLWRNORM",
    "Poll",
    "Ring",
    "RingSelector",
    "__version__",
    "new_event_loop",
    "probe",
    "run",
    "watch",
]
