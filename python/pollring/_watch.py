"""watch(): the events of one file in a line, in plain and in asynchronous code."""

from __future__ import annotations

import sys

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
        if not isinstance(fileobj, int) and not hasattr(fileobj, "fileno"):
            raise TypeError(f"fileobj must be an int or have a method fileno(), not {type(fileobj).__name__}")
        if not isinstance(events, int):
            raise TypeError(f"events must be an int, such as POLLIN | POLLOUT, not {type(events).__name__}")
        self._arguments = fileobj, events
        self._options = options
        self._polls: List[Poll] = []

    def _ring(self) -> Ring:
        """One for plain code."""
        if "asyncio" in sys.modules or "trio" in sys.modules:
            from ._async import running

            if running():
                raise RuntimeError("an event loop runs in this thread, which would stop it: in a task write `async for`, "
                                   "or `async with`")
        return Ring()

    def __iter__(self) -> Iterator[Events]:
        with self._ring() as ring:
            yield from ring.poll_add(*self._arguments, **self._options)

    def __enter__(self) -> Poll:
        ring = self._ring()
        try:
            self._polls.append(ring.poll_add(*self._arguments, **self._options))
        except BaseException:
            ring.close()
            raise
        return self._polls[-1]

    def __exit__(self, *exception: object) -> None:
        self._polls.pop().ring.close()

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

    def __repr__(self) -> str:
        file, events = self._arguments
        name = f"fd={file}" if isinstance(file, int) else repr(file)
        return f"<pollring.Watch {name} {_pollring.names(events & 0xFFFFFFFF)}>"


def watch(fileobj: Any, events: int = _pollring.POLLIN, *, multishot: bool = True, exclusive: bool = False,
          rearm: bool = True, until_hangup: bool = True, data: Any = None) -> Watch:
    """The events of one file, in a line: ``for events in watch(sock)`` in plain code, ``async for events in watch(sock)``
    in a task of asyncio or trio. Leaving the loop removes the poll.

    ``with watch(sock) as poll``, in a task ``async with``, gives the Poll, and removes it on leaving.

    In plain code each iteration has a ring of its own; where an event loop runs, which that would stop, it is refused with
    RuntimeError. In an event loop all share one, which is closed with the loop (asyncio.run and trio.run see to that).

    All arguments are those of :meth:`Ring.poll_add`.
    """
    return Watch(fileobj, events, {"multishot": multishot, "exclusive": exclusive, "rearm": rearm,
                                   "until_hangup": until_hangup, "data": data})
