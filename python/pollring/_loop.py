"""The event loop for asyncio: what of it is Python. The rest is _pollring.Loop, in C."""

import asyncio
import selectors
import socket
import sys
from asyncio import base_events, format_helpers, selector_events
from types import BuiltinMethodType
from typing import Any, Coroutine, Mapping, Optional, Tuple, TypeVar

from . import _pollring
from ._ring import Ring, check_options

_Result = TypeVar("_Result")


class _Selector:
    """What asyncio's Python code asks its selector for: what is watched of a file."""

    def __init__(self, loop: "EventLoop") -> None:
        self._loop = loop

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        watched = self._loop._watched(fileobj)
        if watched is None:
            raise KeyError(f"{fileobj!r} is not registered")
        reader, writer = watched
        events = (selectors.EVENT_READ if reader else 0) | (selectors.EVENT_WRITE if writer else 0)
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        return selectors.SelectorKey(fd, fd, events, watched)

    def get_map(self) -> Mapping[int, selectors.SelectorKey]:
        return {fd: self.get_key(fd) for fd in self._loop._watched_fds()}

    def close(self) -> None:
        pass


@_pollring.stream_transport
class _StreamTransport(selector_events._SelectorSocketTransport):  # type: ignore[name-defined,misc]
    """asyncio's transport of a connection, with its hot methods in C (bindings/python/transport.c), which read these."""

    __slots__ = ("_buffer", "_bulk", "_conn_lost", "_empty_waiter", "_eof", "_protocol", "_read_ready_cb", "_sock")

    def _fail(self, exception: BaseException, message: str) -> None:
        try:
            raise exception  # asyncio wants to be called while it is handled
        except BaseException:
            self._fatal_error(exception, message)
        finally:
            del exception  # its traceback holds this frame


class EventLoop(_pollring.Loop, asyncio.SelectorEventLoop):
    """An asyncio event loop on a ring of its own, :attr:`ring`. It does what asyncio.SelectorEventLoop does.

    :param ring_options: as for :class:`pollring.Ring`.
    """

    def __init__(self, **ring_options: Any) -> None:
        self._attach(Ring(**ring_options))
        super().__init__(_Selector(self))  # type: ignore[arg-type]

    def run_forever(self) -> None:
        """Runs until :meth:`stop` is called."""
        outer = self._forever
        self._forever = isinstance(self._run_once, BuiltinMethodType)  # unless somebody has put another in its place
        try:
            super().run_forever()
        finally:
            self._forever = outer

    def close(self) -> None:
        """Closes the loop and its ring. The loop must not be running."""
        super().close()
        self._detach()

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connects a socket to an address."""
        if type(sock) is not socket.socket:
            return await super().sock_connect(sock, address)
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            resolve = self._ensure_resolved  # type: ignore[attr-defined]
            resolved = await resolve(address, family=sock.family, type=sock.type, proto=sock.proto, loop=self)
            address = resolved[0][4]
        await self._sock_connect_resolved(sock, address)

    def _make_socket_transport(self, sock: socket.socket, protocol: asyncio.BaseProtocol,
                               waiter: Optional["asyncio.Future[None]"] = None, *, extra: Any = None,
                               server: Any = None) -> Any:
        if sys.version_info >= (3, 12):
            self._ensure_fd_no_transport(sock)  # type: ignore[attr-defined]
        return _StreamTransport(self, sock, protocol, waiter, extra, server)

    # ---- what the C half calls: the seldom, and the debug mode ----

    def _run_slowly(self, handle: asyncio.Handle) -> None:
        self._current_handle: Optional[asyncio.Handle] = handle
        try:
            start = self.time()
            handle._run()
            seconds = self.time() - start
            if seconds >= self.slow_callback_duration:
                shown = base_events._format_handle(handle)  # type: ignore[attr-defined]
                base_events.logger.warning(  # type: ignore[attr-defined]
                    "Executing %s took %.3f seconds", shown, seconds)
        finally:
            self._current_handle = None
            del handle  # an exception's traceback may hold this frame for long

    def _report_exception(self, exception: BaseException, callback: Any, args: Tuple[Any, ...],
                          handle: asyncio.Handle) -> None:
        source = format_helpers._format_callback_source(callback, args)
        self.call_exception_handler({"message": f"Exception in callback {source}", "exception": exception,
                                     "handle": handle})


def new_event_loop(**ring_options: Any) -> EventLoop:
    """A new loop; the options are those of :class:`pollring.Ring`."""
    check_options("new_event_loop", ring_options)
    return EventLoop(**ring_options)


if sys.version_info >= (3, 11):

    def run(main: Coroutine[Any, Any, _Result], *, debug: Optional[bool] = None, **ring_options: Any) -> _Result:
        """As asyncio.run(), on this loop; other options are those of :class:`pollring.Ring`."""
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("pollring.run() cannot be called from a running event loop")
        check_options("run", ring_options)
        with asyncio.Runner(debug=debug, loop_factory=lambda: new_event_loop(**ring_options)) as runner:
            return runner.run(main)

else:

    def run(main: Coroutine[Any, Any, _Result], *, debug: Optional[bool] = None, **ring_options: Any) -> _Result:
        """As asyncio.run(), on this loop; other options are those of :class:`pollring.Ring`."""
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("pollring.run() cannot be called from a running event loop")
        check_options("run", ring_options)
        if not asyncio.iscoroutine(main):
            raise ValueError(f"a coroutine was expected, got {main!r}")
        loop = new_event_loop(**ring_options)
        try:
            asyncio.set_event_loop(loop)
            if debug is not None:
                loop.set_debug(debug)
            return loop.run_until_complete(main)
        finally:
            try:
                asyncio.runners._cancel_all_tasks(loop)  # type: ignore[attr-defined]
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.run_until_complete(loop.shutdown_default_executor())
            finally:
                asyncio.set_event_loop(None)
                loop.close()


if sys.version_info < (3, 14):

    class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
        """asyncio's policy, with this loop: ``asyncio.set_event_loop_policy(pollring.EventLoopPolicy())``."""

        _loop_factory = EventLoop
