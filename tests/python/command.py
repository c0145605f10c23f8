"""Runs the command `pollring` as users do: in a pipe, in a terminal, without rich, where io_uring is refused."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 15  # for anything
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
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.environ.update(TERM="xterm-256color", COLUMNS="100", LANG="C.UTF-8")
            command = argv(*arguments, without=without)
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
