#!/usr/bin/env python3
"""Prints what comes down a pipe, as it comes, with the seconds since the start before each line:

    ping -c 5 localhost | tail_pipe.py

One poll for as long as the pipe lives: the loop ends by itself when the last writer has gone.
"""

import os
import sys
import time

import pollring


def main() -> None:
    if sys.stdin.isatty():  # it would stop to block for the shell too
        sys.exit("usage: COMMAND | tail_pipe.py")
    pipe = open(0, "rb", buffering=0, closefd=False)
    os.set_blocking(pipe.fileno(), False)
    started = time.monotonic()
    rest = b""
    for _ in pollring.watch(pipe):
        while chunk := pipe.read(65536):  # until there is no more (None), or the end (b"")
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                print(f"{time.monotonic() - started:8.3f}  {line.decode(errors='replace')}", flush=True)
    if rest:
        print(f"{time.monotonic() - started:8.3f}  {rest.decode(errors='replace')}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
