"""Files that Python's os module makes since 3.10 (eventfd), since 3.13 (timerfd) or not at all (signalfd, inotify), and
reads that never sleep. It knows nothing of polls."""

import array
import ctypes
import errno
import fcntl
import os
import select
import socket
import stat
import struct
import termios
import time
from typing import Callable, Iterable, Iterator, Tuple

_libc = ctypes.CDLL(None, use_errno=True)

IN_MODIFY, IN_ATTRIB, IN_DELETE_SELF, IN_MOVE_SELF = 0x2, 0x4, 0x400, 0x800
IN_CREATE, IN_DELETE, IN_MOVED_FROM, IN_MOVED_TO, IN_IGNORED = 0x100, 0x200, 0x40, 0x80, 0x8000
_INOTIFY_NAMES = {
    0x1: "read", IN_MODIFY: "modified", IN_ATTRIB: "attributes", 0x8: "closed", 0x10: "closed", 0x20: "opened",
    IN_MOVED_FROM: "moved away", IN_MOVED_TO: "moved here", IN_CREATE: "created", IN_DELETE: "deleted",
    IN_DELETE_SELF: "itself deleted", IN_MOVE_SELF: "itself moved", IN_IGNORED: "no longer watched",
}
_PTMX = os.makedev(5, 2)


def _call(name: str, *arguments: object) -> int:
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# ---- the files: each is an fd that doesn't block and isn't inherited ----


def eventfd(semaphore: bool = False) -> int:
    return _call("eventfd", 0, os.O_NONBLOCK | os.O_CLOEXEC | semaphore)  # EFD_SEMAPHORE is 1


def timerfd(first: float, interval: float = 0.0) -> int:
    """Expires after *first* seconds, then every *interval*."""
    fd = _call("timerfd_create", time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    set_timer(fd, first, interval)
    return fd


def set_timer(fd: int, first: float, interval: float = 0.0) -> None:
    def parts(seconds: float) -> Tuple[int, int]:
        return divmod(round(seconds * 1e9), 10**9)

    _call("timerfd_settime", fd, 0, struct.pack("@4l", *parts(interval), *parts(first)), None)


def signalfd(number: int) -> int:
    """The caller blocks the signal, in every thread."""
    signals = ctypes.create_string_buffer(128)
    _call("sigemptyset", signals)
    _call("sigaddset", signals, number)
    return _call("signalfd", -1, signals, os.O_NONBLOCK | os.O_CLOEXEC)


def inotify(path: str, mask: int) -> int:
    fd = _call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _call("inotify_add_watch", fd, os.fsencode(path), mask)
    except OSError as error:
        os.close(fd)
        raise OSError(error.errno, error.strerror, path) from None
    return fd


def inotify_names(data: bytes) -> Iterable[str]:
    """The events in what was read from an inotify file, in words."""
    at = 0
    while at + 16 <= len(data):
        _, mask, _, length = struct.unpack_from("@iIII", data, at)
        name = os.fsdecode(data[at + 16:at + 16 + length].rstrip(b"\0"))
        yield " ".join(filter(None, [", ".join(text for bit, text in _INOTIFY_NAMES.items() if mask & bit), name]))
        at += 16 + length


# ---- reading ----


def unread(fd: int) -> int:
    """How many bytes can be read, -1 where the file doesn't tell (FIONREAD)."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(fd, termios.FIONREAD, count)
    except (OSError, ValueError):  # a negative fd
        return -1
    return count[0]


def readable(fd: int, events: int = select.POLLIN) -> int:
    """What poll(2) says now."""
    poller = select.poll()
    poller.register(fd, events)
    return dict(poller.poll(0)).get(fd, 0)


class Reader:
    """Reads a file without ever sleeping, and without setting O_NONBLOCK on it: that flag belongs to the open file,
    which a shell and its other programs have in common.

    A socket is read with MSG_DONTWAIT, a pipe and an eventfd with RWF_NOWAIT. A terminal knows neither: it is opened a
    second time, with O_NONBLOCK. Where that is refused too, no more is read than poll(2) and FIONREAD promise.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.own = -1
        self.read = self._read_promised
        mode = os.fstat(fd)
        if stat.S_ISSOCK(mode.st_mode):
            self.read = self._receive
        elif stat.S_ISREG(mode.st_mode) or fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK:
            self.read = self._read_simply
        elif os.isatty(fd) and mode.st_rdev != _PTMX:  # opening that would make another pty
            try:
                self.own = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
                self.read = self._read_own
            except OSError:
                pass
        elif not stat.S_ISCHR(mode.st_mode):
            self.read = self._read_nowait

    def _receive(self, size: int) -> bytes:
        return socket_read(self.fd, size)

    def _read_simply(self, size: int) -> bytes:
        return os.read(self.fd, size)

    def _read_own(self, size: int) -> bytes:
        return os.read(self.own, size)

    def _read_nowait(self, size: int) -> bytes:
        buffer = bytearray(size)
        try:
            return bytes(buffer[:os.preadv(self.fd, [buffer], -1, os.RWF_NOWAIT)])
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ESPIPE):
                raise
        self.read = self._read_promised
        return self._read_promised(size)

    def _read_promised(self, size: int) -> bytes:
        if not readable(self.fd) & (select.POLLIN | select.POLLHUP | select.POLLERR):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        there = unread(self.fd)
        return os.read(self.fd, min(size, there) if there > 0 else size)

    def close(self) -> None:
        if self.own >= 0:
            os.close(self.own)


def socket_read(fd: int, size: int) -> bytes:
    """Receives without sleeping from a socket that is known by its number alone."""
    buffer = ctypes.create_string_buffer(size)
    return buffer.raw[:_call("recv", fd, buffer, ctypes.c_size_t(size), socket.MSG_DONTWAIT)]


def chunks(read: Callable[[int], bytes], most: int) -> Iterator[bytes]:
    """What can be read now, until there is no more or *most* bytes were read."""
    while most > 0:
        try:
            chunk = read(min(most, 65536))
        except BlockingIOError:
            return
        if not chunk:
            return
        yield chunk
        most -= len(chunk)


def drain(read: Callable[[int], bytes], most: int = 1 << 20) -> int:
    """Reads until there is no more, or *most* bytes were read. Returns how many were."""
    return sum(map(len, chunks(read, most)))
