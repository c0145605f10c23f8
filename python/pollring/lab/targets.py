"""What can be watched, by what people have: open files, paths, addresses, timers, signals, processes, commands.

A target is an fd with a name, a word about what it is, and a way to take what came without ever sleeping. What pollring
made or was handed as its input is drained by default; of what others may be reading too, a FIFO, a terminal or a device
at a path and an inherited fd, no byte is taken unless that is asked for.
"""

import errno
import os
import signal
import socket
import stat
import struct
import subprocess
from typing import Any, Callable, Iterable, List, NamedTuple, Optional, Tuple

import pollring

from . import linux
from .words import Mistake, example_within, parse_seconds, seconds_text

EXAMPLES = "-, fd:3, a path, tcp:localhost:80, listen:8080, unix:/run/socket, timer:0.5, signal:USR1, pid:1234"
PORTION = 1 << 20  # bytes that are read after one event


class Taken(NamedTuple):
    """What was taken after an event: how many bytes (None: not bytes, or left alone), in words, whether it is all."""

    drained: Optional[int]
    note: str = ""
    all: bool = True


class Target:
    """A file to be watched; *owner* is what close() closes, None where the file is somebody else's. ``drains``: whether
    taking is allowed. ``until_hangup``: whether a hangup is its end; ``once``: whether one event is all it has. ``passing``:
    one of many, to be closed at its end."""

    drains = True
    until_hangup = True
    once = False
    passing = False

    def __init__(self, name: str, fd: int, about: str, owner: Any = None) -> None:
        self.name = name
        self.fd = fd
        self.about = about
        self.owner = owner

    def take(self, ended: bool) -> Taken:
        """Called after an event, where it drains. *ended*: no other event will come, so all has to be taken."""
        return Taken(None)

    def left(self) -> Taken:
        """Called instead where it doesn't: what is there, and stays there."""
        unread = linux.unread(self.fd)
        return Taken(None, f"{unread} unread" if unread >= 0 else "")

    def more_targets(self) -> "List[Target]":
        """Those that taking brought: accepted connections."""
        return []

    def close(self) -> None:
        if self.owner:
            self.owner.close()


class Bytes(Target):
    """A file that is read."""

    reader: Optional[linux.Reader] = None

    def read(self, size: int) -> bytes:
        if self.reader is None:
            self.reader = linux.Reader(self.fd)
        return self.reader.read(size)

    def take(self, ended: bool) -> Taken:
        most = 64 * PORTION if ended else PORTION
        try:
            drained = linux.drain(self.read, most)
        except OSError as error:
            return Taken(0, error.strerror or str(error))
        return Taken(drained, "and there is more" if drained == most else "", drained < most)

    def close(self) -> None:
        if self.reader:
            self.reader.close()
        super().close()


class Listener(Target):
    def __init__(self, name: str, sock: socket.socket, about: str) -> None:
        sock.setblocking(False)
        super().__init__(name, sock.fileno(), about, sock)
        self.accepted: List[Target] = []
        self.count = 0

    def take(self, ended: bool) -> Taken:
        before = self.count
        try:
            while True:
                sock, address = self.owner.accept()
                self.count += 1
                peer = f"from {address[0]}:{address[1]}" if isinstance(address, tuple) else "a connection"
                target = Bytes(f"{self.name}#{self.count}", sock.fileno(), f"accepted {peer}", sock)
                target.passing = True
                self.accepted.append(target)
        except BlockingIOError:
            return Taken(None, f"{self.count - before} accepted")
        except OSError as error:
            return Taken(None, error.strerror or str(error))

    def more_targets(self) -> List[Target]:
        fresh, self.accepted = self.accepted, []
        return fresh

    def close(self) -> None:
        for target in self.accepted:
            target.close()
        super().close()


class Structured(Bytes):
    """A file whose bytes are records, told in words."""

    def __init__(self, name: str, fd: int, about: str, describe: Callable[[bytes], Iterable[str]]) -> None:
        super().__init__(name, fd, about, _owner(fd))
        self.describe = describe

    def take(self, ended: bool) -> Taken:
        data = b"".join(linux.chunks(self.read, 1 << 20))
        return Taken(len(data), ", ".join(self.describe(data)))


class Process(Target):
    once = True

    def __init__(self, name: str, pid: int, child: "Optional[subprocess.Popen[bytes]]" = None) -> None:
        fd = os.pidfd_open(pid)
        super().__init__(name, fd, f"process {pid}", _owner(fd))
        self.child = child

    def take(self, ended: bool) -> Taken:
        if not self.child:
            return Taken(None, "it ended")
        status = self.child.wait()
        return Taken(None, f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}")

    left = take  # type: ignore[assignment]

    def close(self) -> None:
        super().close()
        if self.child and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(2)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


def _owner(fd: int) -> Any:
    return open(fd, "rb", buffering=0)


# ---- from words ----


def open_target(word: str, mask: int) -> Target:
    """One target. :raises Mistake: it is none; OSError, with its name: it can't be opened."""
    prefix, colon, rest = word.partition(":")
    maker = _PREFIXES.get(prefix) if colon else None
    try:
        if word == "-":
            return _open_fd(word, 0, True)
        if maker:
            return maker(word, rest)
        return _open_path(word, mask)
    except Mistake:
        raise
    except FileNotFoundError:
        raise Mistake(f"there is no {word!r}; a target is one of {EXAMPLES}",
                      "pollring watch tcp:localhost:80") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), word) from None


def open_command(command: List[str]) -> List[Target]:
    """Starts a command: its stdout, its stderr, and its end."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    name = os.path.basename(command[0])
    assert child.stdout and child.stderr
    return [Bytes("stdout", child.stdout.fileno(), f"a pipe from {name}", child.stdout),
            Bytes("stderr", child.stderr.fileno(), f"a pipe from {name}", child.stderr),
            Process("end", child.pid, child)]


def _number(text: str, word: str, most: int, example: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > most:
        raise Mistake(f"{word!r} needs a number up to {most} after its colon", example)
    return int(text)


def _address(rest: str, word: str, example: str) -> Tuple[str, int]:
    host, _, port = rest.rpartition(":")
    return host.strip("[]"), _number(port, word, 65535, example)


def _type_of(mode: int, fd: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    if stat.S_ISCHR(mode):
        return "a terminal" if os.isatty(fd) else "a device"
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return "a file that the kernel doesn't poll: always ready"
    return "a block device" if stat.S_ISBLK(mode) else "a kernel object"


def _open_fd(word: str, fd: int, drains: bool) -> Target:
    target = Bytes(word, fd, f"fd {fd}, {_type_of(os.fstat(fd).st_mode, fd)}")
    target.drains = drains
    target.until_hangup = not os.isatty(fd)
    return target


def _open_path(word: str, mask: int) -> Target:
    mode = os.stat(word).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        changes = linux.IN_MODIFY | linux.IN_ATTRIB | linux.IN_DELETE_SELF | linux.IN_MOVE_SELF
        if stat.S_ISDIR(mode):
            changes |= linux.IN_CREATE | linux.IN_DELETE | linux.IN_MOVED_FROM | linux.IN_MOVED_TO
        what = "a folder" if stat.S_ISDIR(mode) else "a regular file"
        return Structured(word, linux.inotify(word, changes),
                          f"{what}, which the kernel doesn't poll: its changes, by inotify", linux.inotify_names)
    if stat.S_ISSOCK(mode):
        return _unix(word, word)
    way = os.O_RDWR if mask & pollring.POLLOUT and not stat.S_ISFIFO(mode) else os.O_RDONLY
    fd = os.open(word, way | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    target = Bytes(word, fd, "a FIFO" if stat.S_ISFIFO(mode) else _type_of(mode, fd), _owner(fd))
    target.drains = target.until_hangup = False
    return target


def _fd(word: str, rest: str) -> Target:
    return _open_fd(word, _number(rest, word, 1 << 30, "pollring watch fd:3 3<fifo"), False)


def _tcp(word: str, rest: str) -> Target:
    host, port = _address(rest, word, "pollring watch tcp:localhost:80")
    sock = socket.create_connection((host or "localhost", port), timeout=10)
    return Bytes(word, sock.fileno(), f"connected to {sock.getpeername()[0]}:{port}", sock)


def _listen(word: str, rest: str) -> Target:
    host, port = _address(rest, word, "pollring watch listen:8080")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server((host or "127.0.0.1", port), family=family)
    bound = server.getsockname()
    return Listener(word, server, f"listening on {bound[0]}:{bound[1]}")


def _unix(word: str, path: str) -> Target:
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        sock = socket.socket(socket.AF_UNIX, kind)
        try:
            sock.connect(path)
            return Bytes(word, sock.fileno(), f"connected, {kind.name}", sock)
        except OSError as error:
            sock.close()
            if error.errno != errno.EPROTOTYPE:
                raise
    raise OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE))


def _timer(word: str, rest: str) -> Target:
    with example_within("pollring watch timer:{}"):
        seconds = parse_seconds(rest)
    if not 0.0001 <= seconds <= 1e9:
        raise Mistake(f"{word!r}: a timer expires every 100us to 1e9 seconds", "pollring watch timer:0.5")

    def describe(data: bytes) -> List[str]:
        return [f"expired {count}×" for count, in struct.iter_unpack("@Q", data)]

    return Structured(word, linux.timerfd(seconds, seconds), f"every {seconds_text(seconds)}", describe)


def _signal(word: str, rest: str) -> Target:
    name = rest.upper() if rest.upper().startswith("SIG") else f"SIG{rest.upper()}"
    number = getattr(signal.Signals, name, None)
    if number is None or number in (signal.SIGKILL, signal.SIGSTOP):
        raise Mistake(f"{word!r} names no signal that can be waited for", "pollring watch signal:USR1")
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})

    def describe(data: bytes) -> List[str]:
        return [f"{name} from {struct.unpack_from('@IiiI', data, at)[3]}" for at in range(0, len(data), 128)]

    return Structured(word, linux.signalfd(number), f"signals of process {os.getpid()}", describe)


def _pid(word: str, rest: str) -> Target:
    pid = _number(rest, word, 1 << 22, "pollring watch pid:1234")
    try:
        return Process(word, pid)
    except ProcessLookupError:
        raise Mistake(f"{word!r}: no such process", "pollring watch pid:$$") from None


_PREFIXES = {"fd": _fd, "tcp": _tcp, "listen": _listen, "unix": _unix, "timer": _timer,
             "signal": _signal, "pid": _pid}
