"""Linux's multishot poll: one request that keeps posting events.

>>> with pollring.Ring() as ring:
...     for events in ring.poll_add(sock):
...         print(events, sock.recv(4096))
"""

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
    "__version__",
    "probe",
    "watch",
]
