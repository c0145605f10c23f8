#!/usr/bin/env python3
"""Arms and removes polls through the Python API, in random order, on files that are closed and opened again: every
event is its poll's, none is missing, and no memory, file or slot is left behind.

    leak.py BACKEND SECONDS [SEED]      status 1 where something is wrong; 77: this backend can't be opened here
"""

import errno
import gc
import os
import random
import sys
import time

import pollring

PLACES = 200
WARM_UP = 5  # rings


class Place:
    """A pipe, and a poll of its read end, or none. `due`: an event has to come."""

    def __init__(self):
        self.poll = None
        self.open()

    def open(self):
        self.read_end, self.write_end = os.pipe()
        self.due = self.full = False

    def close(self):
        os.close(self.read_end)
        os.close(self.write_end)

    def drain(self):
        if self.full:
            os.read(self.read_end, 1)
        self.due = self.full = False

    def write(self):
        if not self.full:
            os.write(self.write_end, b"x")
            self.full, self.due = True, self.poll is not None

    def arm(self, ring):
        self.poll = ring.poll_add(self.read_end, data=self)
        self.due = self.full

    def disarm(self, ring):
        random.choice([self.poll.remove, self.poll.__exit__, lambda: ring.remove_fd(self.read_end)])()
        self.poll, self.due = None, False


def step(ring, place):
    chosen = random.random()
    if chosen < 0.2:
        place.write()
    elif chosen < 0.3:
        place.drain()
    elif chosen < 0.4:
        if place.poll:
            place.disarm(ring)
        place.close()
        place.open()
    elif place.poll:
        place.disarm(ring)
        return 1
    else:
        place.arm(ring)
    return 0


def churn(backend, places):
    """The life of a ring. Returns how many polls were removed."""
    removed = 0
    with pollring.Ring(16, cq_entries=16, backend=backend) as ring:
        for _ in range(20):
            for _ in range(PLACES):
                removed += step(ring, random.choice(places))
            while batch := ring.wait(0):
                for poll, events in batch:
                    assert (events == -errno.ECANCELED) == (not poll.active), (poll, events)
                    if poll.active:
                        assert poll is poll.data.poll, (poll, events)
                        poll.data.due = False
            late = [place.poll for place in places if place.due]
            assert not late, f"ready, and no event came: {late}"
            assert ring.active == sum(place.poll is not None for place in places)
    for place in places:
        assert place.poll is None or place.poll.end_reason == "closed"
        place.poll, place.due = None, False
    return removed


def resident_kib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def holdings():
    gc.collect()
    return resident_kib(), len(os.listdir("/proc/self/fd")), len(gc.get_objects())


def main(backend, seconds, seed=None):
    seed = int(seed) if seed else random.randrange(1 << 32)
    random.seed(seed)
    print(f"{backend}: python, seed {seed}", flush=True)
    try:
        pollring.Ring(backend=backend).close()
    except OSError as error:
        print(f"{backend}: can't be opened here: {error}")
        return 77
    places = [Place() for _ in range(PLACES)]
    for _ in range(WARM_UP):
        churn(backend, places)
    before, start, removed, rings = holdings(), time.monotonic(), 0, 0
    while time.monotonic() < start + seconds:
        removed += churn(backend, places)
        rings += 1
    after = holdings()
    for place in places:
        place.close()
    print(f"{backend}: python: {removed} armed and removed on {rings} rings, RSS {before[0]} KiB before and {after[0]} "
          "after")
    if after[0] > before[0] + 1024 or after[1] != before[1] or after[2] > before[2] + 100:
        print(f"{backend}: FAILED: (RSS in KiB, open files, objects) went from {before} to {after}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:4]))
