"""Every kind of file that gives readiness, the same three questions: is it reported when it is ready at arm, is there
silence after, and an event for what happens next?"""

import ctypes
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import tempfile
import threading

import pytest

from conftest import GUARD
from pollring import POLLERR, POLLHUP, POLLIN, POLLPRI

libc = ctypes.CDLL(None, use_errno=True)


def check(fd):
    """The result of a call of libc."""
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


class Kind:
    """A file, a way to make it ready, and a way to make it quiet again."""

    def __init__(self):
        self.open()

    def read(self):
        os.read(self.fd, 4096)

    def close(self):
        os.close(self.fd)


class Pipe(Kind):
    def open(self):
        self.fd, self.other = os.pipe()

    def ready(self):
        os.write(self.other, b"x")

    def close(self):
        os.close(self.fd)
        os.close(self.other)


class Fifo(Pipe):
    def open(self):
        with tempfile.TemporaryDirectory() as folder:
            os.mkfifo(folder + "/fifo")
            self.fd = os.open(folder + "/fifo", os.O_RDONLY | os.O_NONBLOCK)
            self.other = os.open(folder + "/fifo", os.O_WRONLY)


class Pty(Pipe):
    def open(self):
        self.fd, self.other = pty.openpty()


class SocketPair(Kind):
    def open(self):
        self.end, self.peer = socket.socketpair()
        self.fd = self.end.fileno()

    def ready(self):
        self.peer.send(b"x")

    def close(self):
        self.end.close()
        self.peer.close()


class Tcp(SocketPair):
    def open(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.peer = socket.create_connection(server.getsockname())
            self.end, _ = server.accept()
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self.end.fileno()


class Udp(SocketPair):
    def open(self):
        self.end, self.peer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.end.bind(("127.0.0.1", 0))
        self.peer.connect(self.end.getsockname())
        self.fd = self.end.fileno()


class Listener(Kind):
    def open(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.fd = self.server.fileno()

    def ready(self):
        socket.create_connection(self.server.getsockname()).close()

    def read(self):
        self.server.accept()[0].close()

    def close(self):
        self.server.close()


class Eventfd(Kind):
    def open(self):
        self.fd = check(libc.eventfd(0, 0))

    def ready(self):
        os.write(self.fd, struct.pack("Q", 1))


class Timerfd(Kind):
    def open(self):
        self.fd = check(libc.timerfd_create(1, 0))

    def ready(self):
        check(libc.timerfd_settime(self.fd, 0, struct.pack("4l", 0, 0, 0, 1000), None))


class Signalfd(Kind):
    def open(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        self.fd = check(libc.signalfd(-1, struct.pack("16Q", 1 << signal.SIGUSR2 - 1, *[0] * 15), 0))

    def ready(self):
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)  # other threads may not block it

    def close(self):
        os.close(self.fd)
        before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # drops what is pending
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
        signal.signal(signal.SIGUSR2, before)


class Inotify(Kind):
    def open(self):
        self.file = tempfile.NamedTemporaryFile(buffering=0)
        self.fd = check(libc.inotify_init1(0))
        check(libc.inotify_add_watch(self.fd, self.file.name.encode(), 2))  # IN_MODIFY

    def ready(self):
        self.file.write(b"x")

    def close(self):
        os.close(self.fd)
        self.file.close()


class Epoll(Kind):
    def open(self):
        self.pipe = os.pipe()
        self.epoll = select.epoll()
        self.epoll.register(self.pipe[0], select.EPOLLIN)
        self.fd = self.epoll.fileno()

    def ready(self):
        os.write(self.pipe[1], b"x")

    def read(self):
        os.read(self.pipe[0], 10)

    def close(self):
        self.epoll.close()
        for fd in self.pipe:
            os.close(fd)


KINDS = [Pipe, Fifo, Pty, SocketPair, Tcp, Udp, Listener, Eventfd, Timerfd, Signalfd, Inotify, Epoll]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__.lower())
def kind(request):
    made = request.param()
    yield made
    made.close()


def test_ready_at_arm_then_silence_then_edges(ring, kind):
    poll = ring.poll_add(kind.fd)
    assert poll.wait(0) == 0
    kind.ready()
    assert poll.wait(GUARD) & POLLIN
    kind.read()
    while poll.wait(0):  # some kinds wake more than once for one thing
        pass
    kind.ready()
    events = poll.wait(GUARD)
    assert events & POLLIN and events.more
    while poll.wait(0):
        pass
    assert ring.poll_add(kind.fd).wait(GUARD) & POLLIN  # level at arm
    assert poll.wait(0) == 0 and poll.active


def test_several_polls_on_one_file_are_independent(ring, kind):
    polls = [ring.poll_add(kind.fd) for _ in range(3)]
    kind.ready()
    assert all(poll.wait(GUARD) & POLLIN for poll in polls)
    polls[1].remove()
    kind.read()
    kind.ready()
    assert polls[0].wait(GUARD) and polls[2].wait(GUARD) and polls[1].wait() is None


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="os.pidfd_open came with Python 3.9")
def test_a_pidfd_tells_the_end_of_its_process(ring):
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    fd = os.pidfd_open(process.pid)
    poll = ring.poll_add(fd)
    assert poll.wait(0) == 0
    process.stdin.close()
    assert poll.wait(GUARD) & POLLIN
    process.wait()
    os.close(fd)


def test_mounts_report_changes_as_errors_and_stay(ring):
    with open("/proc/self/mounts") as mounts:
        poll = ring.poll_add(mounts, POLLERR | POLLPRI)
        assert poll.wait(0) == 0 and poll.active


def test_a_refused_datagram_is_an_error_that_ends_nothing(ring):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        address = unused.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        poll = ring.poll_add(sender)
        sender.send(b"x")
        events = poll.wait(GUARD)
        assert events & POLLERR and events.more and poll.active


def test_a_socket_that_is_not_connected_hangs_up(ring):
    with socket.socket() as fresh:
        poll = ring.poll_add(fresh)
        assert poll.wait() & POLLHUP and poll.end_reason == "hangup"
