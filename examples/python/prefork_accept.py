#!/usr/bin/env python3
"""Several processes accept connections, each with a ring of its own:

    prefork_accept.py exclusive     all on one socket; EPOLLEXCLUSIVE wakes one of them for each connection
    prefork_accept.py reuseport     a socket for each; the kernel shares connections out by their addresses

Each answers with its number. 200 connections are made here, and how many each process got is printed.
"""

import os
import signal
import socket
import sys
from collections import Counter

import pollring

WORKERS, CONNECTIONS = 4, 200


def listen(address, shared):
    listener = socket.socket()
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(address)
    listener.listen(CONNECTIONS)
    listener.setblocking(False)
    return listener


def work(listener, number, exclusive):
    with pollring.Ring() as ring:  # after the fork: one that is inherited fails every call
        for _ in ring.poll_add(listener, exclusive=exclusive):
            try:
                while True:  # until BlockingIOError
                    connection, _ = listener.accept()
                    with connection:
                        connection.send(bytes([number]))
            except BlockingIOError:
                pass


def main(way="exclusive"):
    exclusive = way != "reuseport"
    listeners = [listen(("127.0.0.1", 0), not exclusive)]
    address = listeners[0].getsockname()
    while len(listeners) < WORKERS:  # all of them first: connections to one that nobody serves would wait
        listeners.append(listeners[0] if exclusive else listen(address, True))
    children = []
    for number, listener in enumerate(listeners):
        children.append(os.fork())
        if not children[-1]:
            work(listener, number, exclusive)
    got = Counter()
    for _ in range(CONNECTIONS):
        with socket.create_connection(address) as connection:
            got[connection.recv(1)[0]] += 1
    for number, child in enumerate(children):
        print(f"process {number}: {got[number]} connections")
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
