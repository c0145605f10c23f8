"""Runs the command `pollring` as users do: in a pipe, in a terminal, without rich, where io_uring is refused."""

import ctypes
import errno
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import time

SECONDS = 15  # for anything


def argv(*arguments, rich=True):
    """What starts the command; rich=False: where rich isn't installed."""
    hide = "" if rich else "sys.modules['rich'] = None; "
    return [sys.executable, "-c", f"import sys; {hide}from pollring.lab.cli import main; sys.exit(main())", *arguments]


def run(*arguments, **options):
    """Runs it with its output in pipes; stdin is empty unless options say otherwise."""
    if "stdin" not in options and "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    return subprocess.run(argv(*arguments), capture_output=True, text=True, timeout=SECONDS, **options)


def start(*arguments, **options):
    """Starts it; its stdout and stderr are pipes, unbuffered, so that select() tells what there is."""
    return subprocess.Popen(argv(*arguments), bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def refuse_io_uring():
    """For preexec_fn: a seccomp filter answers io_uring_setup with EPERM, as Docker's default profile does."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = [(0x20, 0, 0, 0),  # load the number of the system call
             (0x15, 0, 1, 425),  # is it io_uring_setup
             (0x06, 0, 0, 0x00050000 | errno.EPERM),
             (0x06, 0, 0, 0x7FFF0000)]  # all others are allowed
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program):  # NO_NEW_PRIVS, SECCOMP with a filter
        raise OSError(ctypes.get_errno(), "seccomp")


class Terminal:
    """It runs in a terminal of its own: 100 columns, and what is typed reaches it as from a keyboard."""

    def __init__(self, *arguments, rich=True):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.environ.update(TERM="xterm-256color", COLUMNS="100", LANG="C.UTF-8")
            command = argv(*arguments, rich=rich)
            os.execv(command[0], command)

    def type(self, text):
        os.write(self.fd, text.encode())

    def _read(self, deadline):
        """What came next; None at its end."""
        if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"it takes too long, after {self.text!r}")
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return None
        return data.decode(errors="replace") or None

    def wait_for(self, pattern):
        """Until that was printed."""
        deadline = time.monotonic() + SECONDS
        while not re.search(pattern, self.plain):
            part = self._read(deadline)
            assert part is not None, f"it ended without {pattern!r}: {self.text!r}"
            self.text += part

    def finish(self):
        """Until it ends: its exit status."""
        deadline = time.monotonic() + SECONDS
        while (part := self._read(deadline)) is not None:
            self.text += part
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        os.close(self.fd)
        return status

    @property
    def plain(self):
        """All that it printed, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text).replace("\r", "")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.fd)
