#!/usr/bin/env python3
"""Several processes, or threads, accept connections, each with a ring of its own:

    prefork_accept.py exclusive [--threads]     all on one socket; EPOLLEXCLUSIVE wakes one of them for each connection
    prefork_accept.py reuseport [--threads]     a socket for each; the kernel shares connections out by their addresses

Each answers with its number. 200 connections are made here, and how many each worker got is printed.
"""

import os
import signal
import socket
import sys
import threading
from collections import Counter
from typing import Any

import pollring

WORKERS, CONNECTIONS = 4, 200


def listen(address: Any, shared: bool) -> socket.socket:
    listener = socket.socket()
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(address)
    listener.listen(CONNECTIONS)
    listener.setblocking(False)
    return listener


def work(listener: socket.socket, number: int, exclusive: bool) -> None:
    with pollring.Ring() as ring:  # a worker's own: a ring belongs to one thread, and an inherited one fails every call
        for _ in ring.poll_add(listener, exclusive=exclusive):
            try:
                while True:  # until BlockingIOError
                    connection = listener.accept()[0]
                    with connection:
                        connection.send(bytes([number]))
            except BlockingIOError:
                pass


def main(way: str = "exclusive", kind: str = "--processes") -> None:
    exclusive, threads = way != "reuseport", kind == "--threads"
    listeners = [listen(("127.0.0.1", 0), not exclusive)]
    address = listeners[0].getsockname()
    while len(listeners) < WORKERS:  # all of them first: connections to one that nobody serves would wait
        listeners.append(listeners[0] if exclusive else listen(address, True))
    children = []
    for number, listener in enumerate(listeners):
        if threads:
            threading.Thread(target=work, args=(listener, number, exclusive), daemon=True).start()
        elif child := os.fork():
            children.append(child)
        else:
            work(listener, number, exclusive)
    got: Counter[int] = Counter()
    for _ in range(CONNECTIONS):
        with socket.create_connection(address) as connection:
            got[connection.recv(1)[0]] += 1
    for number in range(WORKERS):
        print(f"{'thread' if threads else 'process'} {number}: {got[number]} connections")
    for child in children:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
