#!/usr/bin/env python3
"""Reads a FIFO whose writers come and go, with one poll for all of them:

    mkfifo fifo
    hangup.py fifo [WRITERS]        ends after so many have gone, or with Ctrl-C
    echo hello > fifo               in other shells, again and again

A hangup ends a poll; until_hangup=False keeps this one for the next writer. (To arm it again at each hangup would spin:
until somebody writes, the FIFO is still hung up, and a poll is level-triggered when it is armed.)
"""

import os
import sys

import pollring


def main(path: str, writers: int = 0) -> None:
    gone = 0
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # O_NONBLOCK: else it waits for a writer
    fifo = open(fd, "rb", buffering=0)
    with fifo, pollring.Ring() as ring:
        for events in ring.poll_add(fifo, until_hangup=False):
            while chunk := fifo.read(65536):  # what was written before the hangup is still there
                print(chunk.decode(errors="replace"), end="", flush=True)
            if events & pollring.POLLHUP:
                gone += 1
                print("-- the last writer has gone", flush=True)
                if gone == writers:
                    break


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit("usage: hangup.py FIFO [WRITERS]")
    try:
        main(sys.argv[1], *map(int, sys.argv[2:]))
    except OSError as error:
        sys.exit(f"hangup.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
