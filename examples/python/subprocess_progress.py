#!/usr/bin/env python3
"""Runs a command and shows its progress in one line, which lives on while the command is silent:

    subprocess_progress.py make -j4
    subprocess_progress.py          a command that says how far it is

Where the output has percentages there is a bar. Its exit status is the command's.
"""

import os
import re
import subprocess
import sys
import time

import pollring

DEMO = ["sh", "-c", "for i in 10 30 60 80 100; do echo copied $i%; sleep 0.3; done"]


def show(last: str, lines: int, started: float) -> None:
    percent = re.search(r"(\d+)%", last)
    bar = f"[{'#' * (int(percent[1]) // 5):20}] " if percent else ""
    print(f"\r\033[K{time.monotonic() - started:5.1f} s  {bar}{lines} lines: {last[:50]}", end="", flush=True)


def main(*command: str) -> int:
    started, lines, last, rest = time.monotonic(), 0, "", b""
    with subprocess.Popen(command or DEMO, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child, \
            pollring.Ring() as ring:
        assert child.stdout
        os.set_blocking(child.stdout.fileno(), False)
        output = ring.poll_add(child.stdout)
        while output.wait(0.1) is not None:  # 0 at the timeout, when only the clock goes on; None after the hangup
            while chunk := child.stdout.read(65536):
                *complete, rest = re.split(b"[\r\n]+", rest + chunk)
                lines += len(complete)
                last = complete[-1].decode(errors="replace") if complete else last
            show(last, lines, started)
    print()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except OSError as error:
        sys.exit(f"subprocess_progress.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
