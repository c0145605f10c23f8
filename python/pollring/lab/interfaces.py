"""The five interfaces to readiness, each as the kernel has it: poll(2), epoll level and edge, and POLL_ADD once and
multishot. One object watches one file; a scenario takes a fresh one for each run.

Level interfaces tell the state when they are asked; the others tell what happened since. The two of io_uring are raw
polls: each completion as the kernel wrote it. Errors are OSErrors. ``armed``: whether the file is watched.
"""

import errno
import os
import select
from typing import Dict, List, NamedTuple, Optional, Type, Union

import pollring


class Report(NamedTuple):
    """One event: a mask of POLL* bits or a negative errno; more is None where the interface knows no such thing."""

    events: int
    more: Optional[bool]


def _not_armed() -> OSError:
    return OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def _given(fd: int) -> int:
    if fd < 0:
        raise _not_armed()
    return fd


class Poll:
    name = "poll(2)"

    def __init__(self) -> None:
        self.poller = select.poll()
        self.fd = -1
        self.armed = False

    def arm(self, fd: int, mask: int) -> None:
        self.poller.register(fd, mask)
        self.fd, self.armed = fd, True

    def update(self, mask: int) -> None:
        self.poller.modify(_given(self.fd), mask)

    def recheck(self) -> None:
        """Every call looks at the file anyway."""

    def remove(self) -> None:
        try:
            self.poller.unregister(_given(self.fd))
        except KeyError:
            raise _not_armed() from None
        self.armed = False

    def collect(self) -> List[Report]:
        return [Report(events, None) for _, events in self.poller.poll(0)]

    def close(self) -> None:
        pass


class EpollLevel:
    name = "epoll level"
    flags = 0

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.fd = -1
        self.mask = 0

    def arm(self, fd: int, mask: int) -> None:
        self.epoll.register(fd, mask | self.flags)
        self.fd, self.mask = fd, mask

    @property
    def armed(self) -> bool:
        """A file that was closed leaves the epoll without a word."""
        with open(f"/proc/self/fdinfo/{self.epoll.fileno()}") as file:
            return any(line.split()[:2] == ["tfd:", str(self.fd)] for line in file)

    def update(self, mask: int) -> None:
        self.epoll.modify(_given(self.fd), mask | self.flags)
        self.mask = mask

    def recheck(self) -> None:
        self.update(self.mask)

    def remove(self) -> None:
        self.epoll.unregister(_given(self.fd))

    def collect(self) -> List[Report]:
        return [Report(events, None) for _, events in self.epoll.poll(0)]

    def close(self) -> None:
        self.epoll.close()


class EpollEdge(EpollLevel):
    name = "epoll edge"
    flags = select.EPOLLET


class OneShot:
    name = "POLL_ADD once"
    multishot = False

    def __init__(self) -> None:
        self.ring = pollring.Ring(8, backend="io_uring")
        self.poll: Optional[pollring.Poll] = None

    def arm(self, fd: int, mask: int) -> None:
        self.poll = self.ring.poll_add(fd, mask, multishot=self.multishot, rearm=False, until_hangup=False)
        self.ring.submit()

    @property
    def armed(self) -> bool:
        return bool(self.poll and self.poll.active)

    def _last(self) -> pollring.Poll:
        if not self.poll or not self.poll.active:
            raise _not_armed()
        return self.poll

    def update(self, mask: int) -> None:
        self._last().update(mask)

    def recheck(self) -> None:
        self._last().recheck()

    def remove(self) -> None:
        self._last().remove()

    def collect(self) -> List[Report]:
        return [Report(int(events), events.more) for _, events in self.ring.wait(0)]

    def close(self) -> None:
        self.ring.close()


class Multishot(OneShot):
    name = "POLL_ADD multishot"
    multishot = True


INTERFACES: Dict[str, Type[Union[Poll, EpollLevel, OneShot]]] = {
    interface.name: interface for interface in (Poll, EpollLevel, EpollEdge, OneShot, Multishot)
}
