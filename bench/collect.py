"""What collecting an event costs in Python: select.epoll and pollring side by side.

Each round makes K of N eventfds ready for both in turn, times the collection alone, and reads the eventfds again outside
the time. Prints "python NAME N K NANOSECONDS" a line: the minimum over the rounds.

    collect.py N K ROUNDS
"""

import os
import resource
import select
import sys
import time

import pollring


def main(count, ready, rounds):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files = {name: [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(count)] for name in ("epoll", "pollring")}

    ring = pollring.Ring()
    for fd in files["pollring"]:
        ring.poll_add(fd)
    ring.submit()
    epoll = select.epoll()
    for fd in files["epoll"]:
        epoll.register(fd, select.EPOLLIN)

    collect = {"epoll": lambda: epoll.poll(1, count), "pollring": lambda: ring.wait(1)}
    best = dict.fromkeys(files, float("inf"))
    for round in range(rounds):
        for name, fds in files.items():
            chosen = [fds[(round + k * 7) % count] for k in range(ready)]
            for fd in chosen:
                os.eventfd_write(fd, 1)
            call = collect[name]
            started = time.perf_counter_ns()
            batch = call()
            best[name] = min(best[name], (time.perf_counter_ns() - started) / ready)
            assert len(batch) == ready
            for fd in chosen:
                os.eventfd_read(fd)
    for name, nanoseconds in best.items():
        print(f"python {name} {count} {ready} {nanoseconds:.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
