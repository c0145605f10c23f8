#!/usr/bin/env python3
"""One ring watches everything at once, each file with one multishot request: a child's output, the child's end, a TCP
connection, a file that grows, and a timer. It prints a line an event, and at the end what that took."""

import ctypes
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import pollring

SECONDS = 5
CHILD = "import time\nfor i in range(8): print('line', i, flush=True); time.sleep(0.5)"


def libc(name: str, *arguments: Any) -> int:
    """Calls what the os module lacks (before Python 3.13 it had no timers, and it has no inotify)."""
    library = ctypes.CDLL(None, use_errno=True)
    result = getattr(library, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return int(result)


def drain(fd: int) -> None:
    """Reads until there is no more: an event says that there was something, not how much."""
    try:
        while os.read(fd, 65536):
            pass
    except BlockingIOError:
        pass


def talk(peer: socket.socket, path: str) -> None:
    """Traffic to be watched: messages on the connection, lines in the file; then it hangs up."""
    with peer, open(path, "ab", buffering=0) as file:
        for i in range(12):
            time.sleep(0.3)
            peer.send(b"hello")
            if i % 3 == 0:
                file.write(b"a line\n")


def main() -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE)
    assert child.stdout
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        connection, _ = server.accept()
    grows = tempfile.NamedTemporaryFile()
    inotify = libc("inotify_init1", os.O_NONBLOCK)
    libc("inotify_add_watch", inotify, grows.name.encode(), 0x2)  # IN_MODIFY
    timer = libc("timerfd_create", time.CLOCK_MONOTONIC, os.O_NONBLOCK)
    libc("timerfd_settime", timer, 0, struct.pack("4l", 1, 0, 1, 0), None)
    connection.setblocking(False)
    os.set_blocking(child.stdout.fileno(), False)

    with pollring.Ring() as ring:
        ring.poll_add(child.stdout, data="child")
        ring.poll_add(os.pidfd_open(child.pid), data="child end")
        ring.poll_add(connection, data="tcp")
        ring.poll_add(inotify, data="file")
        ring.poll_add(timer, data="timer")
        files = ring.active
        threading.Thread(target=talk, args=(peer, grows.name), daemon=True).start()

        started = time.monotonic()
        count = batches = 0
        while (left := started + SECONDS - time.monotonic()) > 0:
            batch = ring.wait(left)
            batches += bool(batch)
            for poll, events in batch:
                count += 1
                print(f"{time.monotonic() - started:7.3f}s  {poll.data:<10} {events!s:<24} more={events.more}", flush=True)
                if poll.data == "child end":
                    child.wait()
                    poll.remove()
                else:
                    drain(poll.fd)
        stats = ring.stats()

    # Level or edge, epoll makes a system call to add each file, one to take it out again, and one a batch.
    print(f"\n{count} events in {batches} batches, from {files} requests, each armed once\n"
          f"pollring: {stats['enters']} system calls, the arming among them\n"
          f"epoll:    {files} to add, {batches + 1} to wait, {files} to remove: {2 * files + batches + 1}\n"
          f"one-shot polls would have been armed {count} times more")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
