#!/usr/bin/env python3
"""Changes what a poll asks for, cancels it, and arms it again:

    update_and_cancel.py [BYTES]    4,000,000 without

One end of a connection sends more than fits into it. It asks for POLLOUT only while it has something to send: a socket
that is asked for it all the time reports it whenever its peer reads. The other end reads; both are on one ring.
"""

import socket
import sys

import pollring
from pollring import POLLIN, POLLOUT


def main(size: int = 4_000_000) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    unsent, received = memoryview(bytes(size)), 0
    with near, far, pollring.Ring() as ring:
        sender, reader = ring.poll_add(near), ring.poll_add(far)
        sender.update(POLLIN | POLLOUT)  # an event comes, because it is ready now
        for poll, _ in ring.events():
            try:
                while poll is sender and unsent:
                    unsent = unsent[near.send(unsent):]
                while poll is reader:
                    received += len(far.recv(65536))
            except BlockingIOError:  # the connection is full, or empty: an event comes when that has changed
                pass
            if not unsent and sender.events & POLLOUT:
                sender.update(POLLIN)
                print("all is sent: asks for POLLIN alone")
            if received == size:
                break
        print(f"{received} bytes received")

        sender.remove()  # the kernel has let the file go when this returns
        far.send(b"answer")
        [(_, last)] = ring.wait(0)
        print(f"{sender.end_reason}: its last event is {last}")
        sender.arm()  # level-triggered again: what has come meanwhile is reported at once
        print(f"armed again: {sender.wait()}, {near.recv(64)!r}")


if __name__ == "__main__":
    try:
        main(*map(int, sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
