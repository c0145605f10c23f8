"""Linux's multishot poll: one request that keeps posting events.

>>> with pollring.Ring() as ring:
...     for events in ring.poll_add(sock):
...         print(events, sock.recv(4096))
"""

from __future__ import annotations

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

    from ._selector import RingSelector


def __getattr__(name: str) -> Any:
    """What needs more of the stdlib than a ring does is imported when it is first asked for."""
    if name == "RingSelector":
        from ._selector import RingSelector

        globals()[name] = RingSelector
        return RingSelector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "EPOLLEXCLUSIVE",
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
    "probe",
    "watch",
]
