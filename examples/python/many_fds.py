#!/usr/bin/env python3
"""Watches many sockets on one ring, and collects their events in batches:

    many_fds.py [SOCKETS]           1000 without; each is one file descriptor

Ten times a tenth of the sockets gets a datagram. Each poll carries what handles its events, so nothing is looked up.
"""

import resource
import socket
import sys
from collections import Counter

import pollring


class Feed:
    """One of the many: a UDP socket, and how many datagrams came."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.received = 0

    def on_events(self) -> None:
        try:
            while True:  # until BlockingIOError: one event stands for all that came
                self.socket.recv(2048)
                self.received += 1
        except BlockingIOError:
            pass


def main(count: int = 1000) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    feeds = [Feed() for _ in range(count)]
    addresses = [feed.socket.getsockname() for feed in feeds]
    batches = events = 0
    with pollring.Ring() as ring, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for feed in feeds:
            ring.poll_add(feed.socket, data=feed)  # the ring keeps it; all go out with the first wait
        for turn in range(10):
            for address in addresses[turn::10]:
                sender.sendto(b"news", address)
            sent = len(addresses[turn::10])
            while sum(feed.received for feed in feeds[turn::10]) < sent:
                batch = ring.wait(1.0)
                if not batch:
                    sys.exit("a datagram was lost")
                batches += 1
                events += len(batch)
                for poll, _ in batch:
                    poll.data.on_events()
        calls = ring.stats()["enters"]
    got = Counter(feed.received for feed in feeds)
    print(f"{events} events of {count} sockets in {batches} batches, with {calls} system calls")
    print(f"datagrams: {', '.join(f'{number} sockets got {each}' for each, number in got.items())}")


if __name__ == "__main__":
    try:
        main(*map(int, sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
