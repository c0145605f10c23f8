"""Runs the command `pollring` as users do: in a pipe, in a terminal, without rich, where io_uring is refused."""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

from conftest import GUARD

SECONDS = GUARD  # for anything
REFUSE = Path(__file__).parent.parent / "refuse.py"


def argv(*arguments, without=(), refused=False):
    """What starts the command. without: modules that aren't installed; refused: io_uring is."""
    hide = "".join(f"sys.modules[{module!r}] = None; " for module in without)
    code = f"import sys; {hide}from pollring.lab.cli import main; sys.exit(main())"
    refuse = [sys.executable, REFUSE, "--setup", "EPERM"] if refused else []
    return [*refuse, sys.executable, "-c", code, *arguments]


def run(*arguments, without=(), refused=False, **options):
    """Runs it with its output in pipes; stdin is empty unless options say otherwise."""
    if "stdin" not in options and "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    return subprocess.run(argv(*arguments, without=without, refused=refused), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=SECONDS, **options)


def start(*arguments, **options):
    """Starts it; its stdout and stderr are pipes, unbuffered, so that select() tells what there is."""
    return subprocess.Popen(argv(*arguments), bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


class Terminal:
    """It runs in a terminal of its own: 100 columns, and what is typed reaches it as from a keyboard."""

    def __init__(self, *arguments, without=()):
        self.text = ""
        self.fd, slave = pty.openpty()
        self.process = subprocess.Popen(
            argv(*arguments, without=without), stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LANG": "C.UTF-8"})
        os.close(slave)

    def type(self, text):
        os.write(self.fd, text.encode())

    def _read(self, deadline):
        """What came next; None at its end."""
        ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"it takes too long, after {self.text!r}"
        try:
            return os.read(self.fd, 65536).decode(errors="replace")
        except OSError:  # EIO: nobody has it open any more
            return None

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
        return self.process.wait(SECONDS)

    @property
    def plain(self):
        """All that it printed, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text).replace("\r", "")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)
