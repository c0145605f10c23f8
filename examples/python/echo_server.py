#!/usr/bin/env python3
"""Sends every client back what it sends, a task for each:

    echo_server.py [PORT]           without one the kernel chooses; Ctrl-C ends it
    nc localhost PORT

pollring.run() is asyncio.run() on a ring. With asyncio.run() the same program works on asyncio's own loop.
"""

import asyncio
import socket
import sys

import pollring


async def echo(client: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    try:
        async for _ in pollring.watch(client):  # ends when the client hangs up
            try:
                while data := client.recv(65536):  # an event is a hint: read until BlockingIOError, or the end
                    await loop.sock_sendall(client, data)
            except BlockingIOError:
                pass
    except ConnectionError:  # the client has gone without reading all
        pass
    finally:
        client.close()


async def main(port: int = 0) -> None:
    tasks = set()  # the event loop keeps only weak references
    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        listener.setblocking(False)
        print("listening on port", listener.getsockname()[1], flush=True)
        async with pollring.watch(listener) as poll:
            async for _ in poll:
                try:
                    while True:  # until BlockingIOError
                        client, _ = listener.accept()
                        client.setblocking(False)
                        task = asyncio.create_task(echo(client))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                except BlockingIOError:
                    pass
                except OSError as error:  # no file descriptor is left, and clients wait: looks again soon
                    print(error, file=sys.stderr)
                    asyncio.get_running_loop().call_later(0.1, poll.recheck)


if __name__ == "__main__":
    try:
        pollring.run(main(*map(int, sys.argv[1:])))
    except KeyboardInterrupt:
        sys.exit(130)
