"""Kinds of files to try polls on: how each is opened, made ready from its other end, and read.

A step of a scenario is a method of a kind. It knows nothing of polls.
"""

import os
import pty
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
import tty
from typing import Callable, Dict, Optional, Tuple, Type

from . import linux

PATIENCE = 1.0  # seconds for the kernel to bring what was sent to the other end; it takes some microseconds
QUIET = 0.003  # seconds for a wake-up that follows what can be seen already


class Kind:
    """A file that is polled, ``fd``, and its other end. Its methods return when what they did can be seen at ``fd``,
    and raise OSError. What is read is not of interest."""

    #: What is polled, and what steps do that aren't plain.
    about = ""
    #: The steps that make sense here; :data:`pollring.lab.scenario.VERBS` tells what they are. A method for each.
    steps = ""

    fd = other = -1

    def write(self, count: int) -> None:
        os.write(self.other, b"x" * count)

    def read(self, count: Optional[int]) -> None:
        """None: all that is there."""
        if count is None:
            linux.drain(lambda size: os.read(self.fd, size))
        else:
            os.read(self.fd, count)

    def close(self) -> None:
        os.close(self.other)
        self.other = -1

    def take_over(self, other: int) -> None:
        """From the other end that is open, if one is."""
        if self.other >= 0:
            os.close(self.other)
        self.other = other

    def close_own(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def await_(self, condition: Callable[[], object]) -> None:
        """Until what was sent has come: seen, not guessed. Gives up after a while: what is seen then is the answer."""
        deadline = time.monotonic() + PATIENCE
        while self.fd >= 0 and not condition() and time.monotonic() < deadline:
            time.sleep(0.0002)
        time.sleep(QUIET)

    def end(self) -> None:
        """Closes what is open, whatever the steps did."""
        for fd in (self.fd, self.other):
            if fd >= 0:
                os.close(fd)


def fill(fd: int) -> None:
    try:
        while True:
            os.write(fd, b"x" * 4096)
    except BlockingIOError:
        pass


class Pipe(Kind):
    about = "the read end of a pipe; close: its writer closes"
    steps = "write read close close_own"

    def __init__(self) -> None:
        self.fd, self.other = os.pipe()
        os.set_blocking(self.fd, False)


class PipeWriter(Kind):
    about = "the write end of a pipe (arm out); fill: this end writes until it is full, take: its reader reads"
    steps = "fill take close close_own"

    def __init__(self) -> None:
        self.other, self.fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self.other, False)

    def fill(self) -> None:
        fill(self.fd)

    def take(self, count: Optional[int]) -> None:
        os.read(self.other, 1 << 20 if count is None else count)


class Fifo(Kind):
    about = "the read end of a FIFO; close: its writer closes, reopen: another one opens it"
    steps = "write read close reopen close_own"

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="pollring-")
        self.path = os.path.join(self.folder, "fifo")
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.reopen()

    def reopen(self) -> None:
        self.take_over(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))

    def end(self) -> None:
        super().end()
        shutil.rmtree(self.folder)


class Connection(Kind):
    """A connected socket and its peer, which connect() makes."""

    def connect(self) -> Tuple[socket.socket, socket.socket]:
        raise NotImplementedError

    def __init__(self) -> None:
        self.sock, self.peer = self.connect()
        self.sock.setblocking(False)
        self.peer.setblocking(False)
        self.fd = self.sock.fileno()

    def write(self, count: int) -> None:
        before = linux.unread(self.fd)
        self.peer.send(b"x" * count)
        self.await_(lambda: linux.unread(self.fd) > before)

    def read(self, count: Optional[int]) -> None:
        if count is None:
            linux.drain(self.sock.recv)
        else:
            self.sock.recv(count)

    def fill(self) -> None:
        fill(self.fd)
        time.sleep(QUIET)

    def take(self, count: Optional[int]) -> None:
        if count is None:
            linux.drain(self.peer.recv, 1 << 30)
        else:
            self.peer.recv(count)
        time.sleep(QUIET)

    def shutdown(self) -> None:
        self.peer.shutdown(socket.SHUT_WR)
        self.await_(lambda: linux.readable(self.fd, select.POLLRDHUP))

    def close(self) -> None:
        self.peer.close()
        self.await_(lambda: linux.readable(self.fd, select.POLLRDHUP))

    def close_own(self) -> None:
        self.sock.close()
        self.fd = -1

    def end(self) -> None:
        self.sock.close()
        self.peer.close()


class SocketPair(Connection):
    about = "one of a pair of unix stream sockets"
    steps = "write read fill take shutdown close close_own"

    def connect(self) -> Tuple[socket.socket, socket.socket]:
        return socket.socketpair()


class Tcp(Connection):
    about = "a TCP connection; shutdown: the peer's FIN, reset: its RST"
    steps = "write read fill take shutdown close reset close_own"

    def connect(self) -> Tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            peer = socket.create_connection(server.getsockname())
            return server.accept()[0], peer

    def reset(self) -> None:
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class Udp(Connection):
    about = "a connected UDP socket; reset: the peer's port is closed and answers with an ICMP error"
    steps = "write read close reset close_own"

    def connect(self) -> Tuple[socket.socket, socket.socket]:
        one, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for end in (one, other):
            end.bind(("127.0.0.1", 0))
        one.connect(other.getsockname())
        other.connect(one.getsockname())
        return one, other

    def write(self, count: int) -> None:
        for _ in range(count):
            self.peer.send(b"x")
        self.await_(lambda: linux.readable(self.fd))

    def close(self) -> None:
        self.peer.close()

    def reset(self) -> None:
        self.peer.close()
        self.sock.send(b"x")
        self.await_(lambda: linux.readable(self.fd) & select.POLLERR)


class Listen(Kind):
    about = "a listening TCP socket; write: clients connect, read: this end accepts"
    steps = "write read close_own"

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.server.setblocking(False)
        self.fd = self.server.fileno()
        self.sockets = [self.server]

    def write(self, count: int) -> None:
        for _ in range(count):
            self.sockets.append(socket.create_connection(self.server.getsockname()))
        self.await_(lambda: linux.readable(self.fd))

    def read(self, count: Optional[int]) -> None:
        try:
            for _ in range(1 << 20 if count is None else count):
                self.sockets.append(self.server.accept()[0])
        except BlockingIOError:
            if count is not None:
                raise

    def close_own(self) -> None:
        self.server.close()
        self.fd = -1

    def end(self) -> None:
        for sock in self.sockets:
            sock.close()


class Eventfd(Kind):
    about = "an eventfd that counts (EFD_SEMAPHORE); write N: adds N, read N: takes one N times"
    steps = "write read close_own"

    def __init__(self) -> None:
        self.fd = linux.eventfd(semaphore=True)

    def write(self, count: int) -> None:
        os.write(self.fd, struct.pack("@Q", count))

    def read(self, count: Optional[int]) -> None:
        if count is None:
            linux.drain(lambda _: os.read(self.fd, 8))
        else:
            for _ in range(count):
                os.read(self.fd, 8)


class Timerfd(Kind):
    about = "a timer; write: it is set to expire in a millisecond and does, read: takes the count of expirations"
    steps = "write read close_own"

    def __init__(self) -> None:
        self.fd = linux.timerfd(0)

    def write(self, count: int) -> None:
        for _ in range(count):
            linux.set_timer(self.fd, 0.001)
            self.await_(lambda: linux.readable(self.fd))

    def read(self, count: Optional[int]) -> None:
        super().read(None if count is None else 8)


class Signalfd(Kind):
    about = "a signalfd; write N: the signal is sent N times, read N: takes N of them"
    steps = "write read close_own"
    number = signal.SIGRTMIN + 3  # a real-time signal: those are counted

    def __init__(self) -> None:
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {self.number})
        self.fd = linux.signalfd(self.number)

    def write(self, count: int) -> None:
        for _ in range(count):
            signal.pthread_kill(threading.get_ident(), self.number)

    def read(self, count: Optional[int]) -> None:
        super().read(None if count is None else 128 * count)

    def end(self) -> None:
        super().end()
        while signal.sigtimedwait({self.number}, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


class Folder(Kind):
    """A folder of its own, in which write makes files."""


    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="pollring-")
        self.files = 0
        self.fd = self.open()

    def open(self) -> int:
        return os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)

    def write(self, count: int) -> None:
        for self.files in range(self.files + 1, self.files + count + 1):
            os.close(os.open(os.path.join(self.folder, f"file{self.files}"), os.O_CREAT | os.O_WRONLY))

    def end(self) -> None:
        super().end()
        shutil.rmtree(self.folder)


class Dir(Folder):
    about = "a directory; write N: makes N files in it"
    steps = "write close_own"


class Inotify(Folder):
    about = "an inotify file on a directory; write N: makes N files there, read N: takes N notices"
    steps = "write read close_own"

    def open(self) -> int:
        return linux.inotify(self.folder, linux.IN_CREATE)

    def read(self, count: Optional[int]) -> None:
        super().read(None if count is None else 32 * count)  # 16 bytes, and the name in the next 16


class Pidfd(Kind):
    about = "the pidfd of a child; write: the child ends, close: its parent reaps it"
    steps = "write close close_own"

    def __init__(self) -> None:
        self.child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert self.child.stdin
        self.end_child = self.child.stdin.close
        self.fd = os.pidfd_open(self.child.pid)

    def write(self, count: int) -> None:
        self.end_child()
        self.await_(lambda: linux.readable(self.fd))

    def close(self) -> None:
        self.end_child()
        self.child.wait()

    def end(self) -> None:
        super().end()
        self.close()


class Pty(Kind):
    about = "a pty's master; write and close: by the terminal's program, reopen: another program opens it"
    steps = "write read close reopen close_own"

    def __init__(self) -> None:
        self.fd, self.other = pty.openpty()
        tty.setraw(self.other, termios.TCSANOW)
        os.set_blocking(self.fd, False)
        self.path = os.ttyname(self.other)

    def write(self, count: int) -> None:
        before = linux.unread(self.fd)
        super().write(count)
        self.await_(lambda: linux.unread(self.fd) > before)

    def reopen(self) -> None:
        self.take_over(os.open(self.path, os.O_RDWR | os.O_NOCTTY))


class Epoll(Kind):
    about = "an epoll file that holds a pipe's read end; write: into the pipe, read: out of it, close: its writer"
    steps = "write read close close_own"

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.fd = self.epoll.fileno()
        self.inner, self.other = os.pipe()
        os.set_blocking(self.inner, False)
        self.epoll.register(self.inner, select.EPOLLIN)

    def read(self, count: Optional[int]) -> None:
        if count is None:
            linux.drain(lambda size: os.read(self.inner, size))
        else:
            os.read(self.inner, count)

    def close_own(self) -> None:
        self.epoll.close()
        self.fd = -1

    def end(self) -> None:
        self.epoll.close()
        self.fd = -1
        os.close(self.inner)
        super().end()


class File(Kind):
    about = "a regular file; write: appends to it"
    steps = "write read close_own"

    def __init__(self) -> None:
        self.other, path = tempfile.mkstemp(prefix="pollring-")
        self.fd = os.open(path, os.O_RDONLY)
        os.unlink(path)


class Null(Kind):
    about = "/dev/null; write: into it, read: its end, at once"
    steps = "write read close_own"

    def __init__(self) -> None:
        self.fd = os.open(os.devnull, os.O_RDONLY)
        self.other = os.open(os.devnull, os.O_WRONLY)


KINDS: Dict[str, Type[Kind]] = {
    "pipe": Pipe, "pipe-writer": PipeWriter, "fifo": Fifo, "socketpair": SocketPair, "tcp": Tcp, "udp": Udp,
    "listen": Listen, "eventfd": Eventfd, "timerfd": Timerfd, "signalfd": Signalfd, "inotify": Inotify,
    "pidfd": Pidfd, "pty": Pty, "epoll": Epoll, "file": File, "dir": Dir, "null": Null,
}
