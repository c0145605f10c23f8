"""What a type checker knows of a program that uses pollring. It is checked, never run."""

import asyncio
import selectors
import socket
from typing import List, Tuple

from typing_extensions import assert_type

import pollring


def plain(sock: socket.socket) -> None:
    with pollring.Ring(backend="auto", sealed=True) as ring:
        poll = ring.poll_add(sock, pollring.POLLIN | pollring.POLLRDHUP, data="any")
        for events in poll:
            assert_type(events, pollring.Events)
            assert_type(events.more, bool)
        assert_type(ring.wait(1.5, max_events=8), List[Tuple[pollring.Poll, pollring.Events]])
        ring.poll_add(sock, multishot="no")  # type: ignore[arg-type]
        ring.poll_at(sock)  # type: ignore[attr-defined]
    with pollring.RingSelector() as selector:
        assert_type(selector.register(sock, selectors.EVENT_READ), selectors.SelectorKey)


async def asynchronous(sock: socket.socket) -> int:
    async for events in pollring.watch(sock):
        assert_type(events, pollring.Events)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, pollring.EventLoop)
    assert_type(loop.ring.backend if loop.ring else "", str)
    loop.call_soon(plain, sock)
    loop.call_soon(plain, 1)  # type: ignore[arg-type]
    return len(await loop.sock_recv(sock, 4096))


assert_type(pollring.run(asynchronous(socket.socket()), backend="epoll"), int)
