"""Rings and event loops of every kind, and files that clean up after themselves."""

import asyncio
import gc
import os
import select
import signal
import socket
import time

import pytest

import pollring

PATIENCE = float(os.environ.get("TEST_PATIENCE") or 1)  # by which time limits are multiplied on slow machines
GUARD = 15 * PATIENCE  # seconds: only ends what hangs
EPOLL = {"backend": "epoll"}
VARIANTS = {
    "default": {},
    "defer_taskrun": {"setup": "defer_taskrun"},
    "coop_taskrun": {"setup": "coop_taskrun"},
    "plain": {"setup": "plain"},
    "pinned": {"pinned": True},
    "sealed": {"sealed": True},
    "tiny": {"entries": 2, "cq_entries": 4},
    "epoll": EPOLL,
    "epoll-tiny": {"entries": 2, "cq_entries": 4, **EPOLL},
}


@pytest.fixture(params=os.environ.get("POLLRING_TEST_VARIANTS", " ".join(VARIANTS)).split())
def options(request):
    """What to open a ring with; a set-up that this kernel lacks is skipped."""
    chosen = VARIANTS[request.param]
    setup = chosen.get("setup")
    if setup and setup not in pollring.probe()["setups"]:
        pytest.skip(f"this kernel lacks the set-up {setup}")
    return chosen


@pytest.fixture
def ring(options):
    with pollring.Ring(**options) as ring:
        yield ring


@pytest.fixture
def pipe():
    """Makes (read end, write end) as unbuffered files, closed at the end."""
    made = []

    def make():
        ends = [open(fd, mode, buffering=0) for fd, mode in zip(os.pipe(), ("rb", "wb"))]
        os.set_blocking(ends[0].fileno(), False)
        made.extend(ends)
        return ends

    yield make
    for end in made:
        end.close()


@pytest.fixture
def pair():
    """Makes connected sockets, closed at the end."""
    made = []

    def make(*args):
        ends = socket.socketpair(*args)
        for end in ends:
            end.setblocking(False)
        made.extend(ends)
        return ends

    yield make
    for end in made:
        end.close()


def pytest_generate_tests(metafunc):
    """With loops: what uses files runs on rings of every kind, the rest on one, and all on asyncio's own loop."""
    if "make_loop" in metafunc.fixturenames:
        with_files = {"pair", "pipe"} & set(metafunc.fixturenames)
        variants = os.environ.get("POLLRING_TEST_VARIANTS", " ".join(VARIANTS)).split() if with_files else ["default"]
        metafunc.parametrize("make_loop", [*variants, "asyncio"], indirect=True)


@pytest.fixture
def make_loop(request):
    """Makes loops, which are closed at the end."""
    chosen = VARIANTS.get(request.param)
    if chosen and chosen.get("setup", "plain") not in [*pollring.probe()["setups"], "plain"]:
        pytest.skip(f"this kernel lacks the set-up {chosen['setup']}")
    made = []

    def make():
        loop = asyncio.SelectorEventLoop() if chosen is None else pollring.new_event_loop(**chosen)
        made.append(loop)
        return loop

    make.options = chosen
    yield make
    for loop in made:
        loop.close()


@pytest.fixture
def loop(make_loop):
    return make_loop()


@pytest.fixture
def our_loop(make_loop):
    """Not asyncio's."""
    if make_loop.options is None:
        pytest.skip("of pollring's loop alone")
    return make_loop()


@pytest.fixture(autouse=True)
def no_fd_is_leaked():
    """Every test leaves as many file descriptors as it found."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    after = set(os.listdir("/proc/self/fd"))
    assert len(after) <= len(before), f"leaked: {after - before}"


@pytest.fixture(autouse=True)
def nothing_hangs():
    """A test that takes 20 seconds (TEST_PATIENCE times as long on slow machines) has failed: SIGALRM ends it, also inside
    a wait. With POLLRING_TEST_SIGNALS it comes each millisecond from the start, so that whatever sleeps is interrupted."""
    limit = 20 * PATIENCE
    end = time.monotonic() + limit

    def give_up(*_):
        if time.monotonic() >= end:
            raise TimeoutError("the test hangs")

    interval = 0.001 if "POLLRING_TEST_SIGNALS" in os.environ else limit
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, interval, interval)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def is_asleep(task):
    """Whether a process or thread, a path under /proc, sleeps in io_uring_enter or an epoll_wait (x86-64 or arm64)."""
    with open(f"{task}/syscall") as file:  # wchan is "0" on some kernels
        return file.read().split()[0] in ("426", "441", "281", "232", "22")


def readable(fd, seconds=0.0):
    """Whether poll(2) says so."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def run(loop, coroutine):
    async def bounded():
        return await asyncio.wait_for(coroutine, GUARD)

    return loop.run_until_complete(bounded())
