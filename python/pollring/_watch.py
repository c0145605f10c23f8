"""watch(): the events of one file in a line, in plain and in asynchronous code."""

from __future__ import annotations

from . import _pollring
from ._event import Events
from ._poll import Poll
from ._ring import Ring

TYPE_CHECKING = False  # importing typing for it takes longer than all of ours
if TYPE_CHECKING:
    from typing import Any, AsyncIterator, Dict, Iterator, List


class Watch:
    """What :func:`watch` gives: iterable with ``for`` and with ``async for``, each time with a poll of its own."""

    def __init__(self, fileobj: Any, events: int, options: Dict[str, Any]) -> None:
        self._arguments = fileobj, events
        self._options = options
        self._polls: List[Poll] = []

    def __iter__(self) -> Iterator[Events]:
        with Ring() as ring:
            yield from ring.poll_add(*self._arguments, **self._options)

    def _add(self) -> Poll:
        from ._async import ring_of_loop

        return ring_of_loop().poll_add(*self._arguments, **self._options)

    def __aiter__(self) -> AsyncIterator[Events]:
        return self._add().__aiter__()

    async def __aenter__(self) -> Poll:
        self._polls.append(self._add())
        return self._polls[-1]

    async def __aexit__(self, *exception: object) -> None:
        self._polls.pop().remove()


def watch(fileobj: Any, events: int = _pollring.POLLIN, *, multishot: bool = True, exclusive: bool = False,
          rearm: bool = True, until_hangup: bool = True, data: Any = None) -> Watch:
    """The events of one file, in a line: ``for events in watch(sock)`` in plain code, ``async for events in watch(sock)``
    in a task of asyncio or trio. Leaving the loop removes the poll.

    ``async with watch(sock) as poll`` gives the Poll, and removes it on leaving.

    In plain code each iteration has a ring of its own. In an event loop all share one, which is closed with the loop
    (asyncio.run and trio.run see to that).

    All arguments are those of :meth:`Ring.poll_add`.
    """
    return Watch(fileobj, events, {"multishot": multishot, "exclusive": exclusive, "rearm": rearm,
                                   "until_hangup": until_hangup, "data": data})
