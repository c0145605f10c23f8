"""What collecting an event costs in Python: select.epoll, selectors, PyPI's liburing, event loops, and pollring, side by
side.

Each round makes K of a contestant's N eventfds ready, times the collection alone, and reads the eventfds again outside
the time. The contestants take turns of 20 rounds, or ("cold") of one, between which the others drive each one's data out
of the caches. The figure is nanoseconds an event, less what reading the clock costs. Or what importing takes, a process
each: nanoseconds from its start to its end. A line a figure: "WORKLOAD NAME N K MINIMUM MEDIAN".

    collect.py collect|cold N K ROUNDS [NAME ...]
    collect.py import ROUNDS
"""

import importlib
import os
import resource
import select
import selectors
import statistics
import subprocess
import sys
import time

import pollring

# ---- contestants: each is given its files, and returns a function that collects and says how many came ----


def epoll(fds):
    poller = select.epoll()
    for fd in fds:
        poller.register(fd, select.EPOLLIN)
    return lambda: len(poller.poll(1, len(fds)))


def selector(fds):
    poller = selectors.DefaultSelector()
    for fd in fds:
        poller.register(fd, selectors.EVENT_READ)
    return lambda: len(poller.select(1))


def wait(fds, **options):
    ring = pollring.Ring(**options)
    for fd in fds:
        ring.poll_add(fd)
    ring.submit()
    return lambda: len(ring.wait(1))


def pinned(fds):
    return wait(fds, pinned=True)


def iterator(fds):
    events = iter(pollring.Ring().poll_add(fds[0]))

    def collect():
        for _ in events:
            return 1

    return collect


def liburing(fds):
    import liburing as uring

    ring, flags = uring.Ring(), uring.IORING_SETUP_SINGLE_ISSUER | uring.IORING_SETUP_DEFER_TASKRUN
    uring.io_uring_queue_init(max(256, 1 << len(fds).bit_length()), ring, flags)
    for index, fd in enumerate(fds):
        request = uring.io_uring_get_sqe(ring)
        uring.io_uring_prep_poll_multishot(request, fd, select.POLLIN)
        request.user_data = index + 1
    uring.io_uring_submit(ring)
    completion = uring.Cqe()

    def collect():
        uring.io_uring_submit_and_wait(ring, 1)
        batch, completions = [], uring.io_uring_cqe_iter_init(ring)
        while uring.io_uring_cqe_iter_next(completions, completion):
            entry = completion[0]
            batch.append((entry.user_data, entry.res))
        uring.io_uring_cq_advance(ring, len(batch))
        return len(batch)

    return collect


def event_loop(module):
    """One turn of a loop that has a reader for each file."""

    def contestant(fds):
        loop, seen = importlib.import_module(module).new_event_loop(), 0

        def on_readable():
            nonlocal seen
            seen += 1

        def collect():
            nonlocal seen
            seen = 0
            loop.call_soon(loop.stop)
            loop.run_forever()
            return seen

        for fd in fds:
            loop.add_reader(fd, on_readable)
        return collect

    return contestant


CONTESTANTS = {"wait": wait, "pinned": pinned, "iterator": iterator, "epoll": epoll, "selectors": selector,
               "liburing": liburing, "asyncio": event_loop("asyncio"), "uvloop": event_loop("uvloop"),
               "rloop": event_loop("rloop")}
LOOPS = "asyncio", "uvloop", "rloop"  # where one event is too little: starting and stopping costs several


def taking_part(names, count, ready):
    for name in names or CONTESTANTS:
        if (name == "iterator" and count > 1) or (name in LOOPS and ready == 1):
            continue
        fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(count)]
        try:
            yield name, fds, CONTESTANTS[name](fds)
        except ImportError as error:
            print(f"left out: {name}: {error}", file=sys.stderr)


# ---- workloads ----


def report(workload, name, count, ready, samples):
    print(f"{workload} {name} {count} {ready} {min(samples):.1f} {statistics.median(samples):.1f}", flush=True)


def clock_cost():
    clock = time.perf_counter_ns
    return min(-clock() + clock() for _ in range(5000))


def collect_all(collect, ready):
    seen = collect()
    while seen < ready:
        seen += collect()


def run_round(collect, chosen, ready):
    for fd in chosen:
        os.eventfd_write(fd, 1)
    started = time.perf_counter_ns()
    collect_all(collect, ready)
    elapsed = time.perf_counter_ns() - started
    for fd in chosen:
        os.eventfd_read(fd)
    return elapsed


def measure_collection(workload, turn, count, ready, rounds, names):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    contestants, clock = list(taking_part(names, count, ready)), clock_cost()
    samples = {name: [] for name, _, _ in contestants}
    for start in range(0, rounds, turn):
        for name, fds, collect in contestants:
            for round in range(start, start + turn):
                chosen = [fds[(round + k * 7) % count] for k in range(ready)]
                samples[name].append(run_round(collect, chosen, ready))
    clock = min(clock, clock_cost())  # before and after, as a machine has slow spells
    for name, figures in samples.items():
        report(workload, name, count, ready, [(figure - clock) / ready for figure in figures])
    sys.stdout.flush()
    os._exit(0)  # loops that are left open have much to say at an end


def measure_import(rounds):
    samples = {name: [] for name in ("pass", "select", "pollring", "asyncio")}
    for _ in range(rounds):
        for name, figures in samples.items():
            started = time.perf_counter_ns()
            subprocess.run([sys.executable, "-c", name if name == "pass" else f"import {name}"], check=True)
            figures.append(time.perf_counter_ns() - started)
    for name, figures in samples.items():
        report("import", name, 0, 0, figures)


def main(workload, *arguments):
    if workload == "import":
        return measure_import(*map(int, arguments))
    turn = {"collect": ("python", 20), "cold": ("python-cold", 1)}[workload]
    measure_collection(*turn, *map(int, arguments[:3]), arguments[3:])


if __name__ == "__main__":
    main(*sys.argv[1:])
