#!/usr/bin/env python3
"""Downloads URLs at once, by libcurl's multi_socket interface on a ring (needs python3-pycurl):

    multi_socket.py URL...

libcurl tells which sockets to watch for what, and when it wants to be called at the latest. It does not promise to read
until there is no more, so it needs level-triggered events: poll.recheck() asks for one if the socket is still ready.
"""

import signal
import sys
import time
from io import BytesIO
from typing import Dict, Optional

import pollring
import pycurl

WANTED = {pycurl.POLL_IN: pollring.POLLIN, pycurl.POLL_OUT: pollring.POLLOUT,
          pycurl.POLL_INOUT: pollring.POLLIN | pollring.POLLOUT}


class Downloads:
    def __init__(self, ring: pollring.Ring) -> None:
        self.ring = ring
        self.polls: Dict[int, pollring.Poll] = {}
        self.deadline: Optional[float] = 0.0  # at once: it has all to begin yet
        self.multi = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, self.on_socket)
        self.multi.setopt(pycurl.M_TIMERFUNCTION, self.on_timer)

    def on_socket(self, what: int, fd: int, multi: object, data: object) -> None:
        if what == pycurl.POLL_REMOVE:  # before libcurl closes it
            self.polls.pop(fd).remove()
        elif fd in self.polls:
            self.polls[fd].update(WANTED[what])
        else:  # a hangup doesn't end the poll: there may be more to read than libcurl takes at once
            self.polls[fd] = self.ring.poll_add(fd, WANTED[what], until_hangup=False)

    def on_timer(self, milliseconds: int) -> None:
        self.deadline = time.monotonic() + milliseconds / 1000 if milliseconds >= 0 else None

    def run(self) -> None:
        running = 1
        while running:
            batch = self.ring.wait(None if self.deadline is None else max(0.0, self.deadline - time.monotonic()))
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self.deadline = None  # it is for once
                running = self.multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)[1]
            for poll, events in batch:
                if not poll.active:  # removed, perhaps earlier in this batch
                    continue
                poll.recheck()
                ready = ((pycurl.CSELECT_IN if events & (pollring.POLLIN | pollring.POLLHUP) else 0)
                         | (pycurl.CSELECT_OUT if events & pollring.POLLOUT else 0)
                         | (pycurl.CSELECT_ERR if events & pollring.POLLERR else 0))
                running = self.multi.socket_action(poll.fd, ready)[1]


def main(*urls: str) -> int:
    with pollring.Ring() as ring:
        downloads, bodies = Downloads(ring), {}
        for url in urls:
            transfer = pycurl.Curl()
            bodies[transfer] = BytesIO()
            transfer.setopt(pycurl.URL, url)
            transfer.setopt(pycurl.WRITEDATA, bodies[transfer])
            downloads.multi.add_handle(transfer)
        downloads.run()
        _, done, failed = downloads.multi.info_read()
    for transfer in done:
        code, url = transfer.getinfo(pycurl.RESPONSE_CODE), transfer.getinfo(pycurl.EFFECTIVE_URL)
        print(code, len(bodies[transfer].getvalue()), url)
    for transfer, _, message in failed:
        print("failed:", message, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: multi_socket.py URL...")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # else pycurl takes a callback's KeyboardInterrupt, and goes on
    sys.exit(main(*sys.argv[1:]))
