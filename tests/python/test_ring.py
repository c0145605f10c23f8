"""The ring: opening, closing, whose it is, waking, nesting."""

import gc
import os
import resource
import select
import threading
import time

import pytest

import pollring
from conftest import GUARD, readable
from pollring import POLLIN


def in_thread(function):
    """Runs it in a thread of its own, and returns what it returned or raised."""
    result = []

    def run():
        try:
            result.append(function())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


# ---- opening and closing ----


def test_what_it_tells(options):
    with pollring.Ring(**options) as ring:
        stats = ring.stats()
        assert ring.backend == options.get("backend", "io_uring")
        assert repr(ring) == f"<pollring.Ring {ring.backend} active=0>"
        assert stats["cq_entries"] == options.get("cq_entries", 4096)
        if ring.backend == "epoll":
            assert stats["setup"] is None and stats["entries"] == 0
        else:
            assert stats["setup"] in pollring.probe()["setups"]
            assert stats["setup"] == options.get("setup", stats["setup"])
            assert stats["entries"] == options.get("entries", 256)
    assert ring.closed and repr(ring) == "<pollring.Ring closed>"


def test_the_best_set_up_is_taken(options):
    if "setup" in options or "backend" in options:
        pytest.skip("this variant insists on one, or has none")
    with pollring.Ring(**options) as ring:
        assert ring.stats()["setup"] == pollring.probe()["setups"][0]


def test_an_explicit_cq_entries_is_kept():
    with pollring.Ring(cq_entries=4) as ring:
        assert ring.stats()["cq_entries"] == 4


def test_close_is_idempotent_and_everything_else_raises(ring):
    ring.close()
    ring.close()
    for call in (ring.wait, ring.submit, ring.wake, ring.adopt, ring.fileno, ring.stats, lambda: ring.active,
                 lambda: ring.backend, lambda: ring.remove_fd(0), lambda: ring.poll_add(0), lambda: list(ring.events())):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_closing_releases_files_at_once(options, pair):
    a, peer = pair()
    ring = pollring.Ring(**options)
    ring.poll_add(a)
    ring.submit()
    ring.close()
    a.close()
    assert readable(peer)


def test_closing_inside_a_loop_over_its_events(options, pipe):
    r, w = pipe()
    w.write(b"x")
    ring = pollring.Ring(**options)
    other = ring.poll_add(r)
    for _ in ring.poll_add(r):
        ring.close()
    assert other.end_reason == "closed"


def test_running_out_of_file_descriptors_is_an_error_and_leaks_none(options):
    before = os.listdir("/proc/self/fd")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, before))
    fillers = [os.open("/", os.O_RDONLY)]  # of the gaps below it
    while fillers[-1] < highest:
        fillers.append(os.open("/", os.O_RDONLY))
    spare = fillers[-1] + 1
    for free in range(3):
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare + free, hard))
        try:
            if free < 2:
                with pytest.raises(OSError, match="file descriptors"):
                    pollring.Ring(**options)
            else:
                ring = pollring.Ring(**options)
                with pytest.raises(OSError):
                    ring.fileno()  # this one needs more
                ring.close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for filler in fillers:
        os.close(filler)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_stats_count(ring, pipe):
    r, w = pipe()
    ring.poll_add(r)
    ring.wait(0)
    before = ring.stats()
    w.write(b"x")
    ring.wait()
    after = ring.stats()
    assert after["events"] - before["events"] == 1 and after["enters"] - before["enters"] <= 2
    assert after["active"] == 1 and after["queued"] == 0
    assert after["memory"] < 20000


# ---- threads ----


def test_wake_from_another_thread(ring):
    started = threading.Event()

    def wake():
        started.wait()
        ring.wake()

    thread = threading.Thread(target=wake)
    thread.start()
    started.set()
    assert ring.wait(GUARD) == []
    thread.join()


def test_wake_before_the_wait(ring):
    ring.wake()
    assert ring.wait() == []
    assert ring.wait(0) == []


def test_wake_ends_a_poll_s_wait_but_not_its_iteration(ring, pipe):
    r, w = pipe()
    poll = ring.poll_add(r)
    ring.wake()
    assert poll.wait(GUARD) == 0
    ring.wake()
    w.write(b"x")
    assert next(poll) == POLLIN


def test_wakes_are_not_lost(ring):
    for _ in range(500):
        thread = threading.Thread(target=ring.wake)
        thread.start()
        assert ring.wait(GUARD) == []
        thread.join()


def test_other_threads_run_while_it_waits(ring, pipe):
    r, w = pipe()
    poll = ring.poll_add(r)
    thread = threading.Thread(target=lambda: w.write(b"x"))
    thread.start()
    assert ring.wait(GUARD) == [(poll, POLLIN)]
    thread.join()


def test_another_thread_gets_a_clear_error_and_changes_nothing(ring, pair):
    a, peer = pair()
    poll = ring.poll_add(a)
    ring.submit()
    peer.send(b"x")
    for call in (ring.wait, ring.submit, ring.fileno, ring.close, poll.remove, poll.recheck, poll.wait,
                 lambda: poll.update(POLLIN), lambda: next(poll), lambda: ring.poll_add(peer),
                 lambda: ring.remove_fd(a)):
        error = in_thread(call)
        assert isinstance(error, RuntimeError) and "another thread" in str(error), (call, error)
    assert not ring.closed and ring.active == 1
    assert poll.wait() == POLLIN
    assert ring.stats()["requests"] <= 2


def test_made_in_one_thread_and_run_in_another(options, pair):
    ring = pollring.Ring(**options)
    a, peer = pair()
    ring.poll_add(a)
    peer.send(b"x")

    def run():
        batch = ring.wait()
        ring.close()
        return [events for _, events in batch]

    assert in_thread(run) == [POLLIN]


def test_adopt_moves_the_ring_with_its_polls(options, pair):
    if options.get("pinned"):
        pytest.skip("a pinned ring stays where it is")
    ring = pollring.Ring(**options)
    a, peer = pair()
    poll = ring.poll_add(a)
    fd = ring.fileno()
    assert ring.wait(0) == []

    def run():
        ring.adopt()
        peer.send(b"x")
        assert readable(fd, GUARD)
        events = poll.wait()
        a.recv(10)
        return events

    assert in_thread(run) == POLLIN
    with pytest.raises(RuntimeError):
        ring.wait(0)
    ring.adopt()
    assert ring.fileno() == fd
    peer.send(b"x")
    assert ring.wait() == [(poll, POLLIN)]
    ring.close()


def test_a_pinned_ring_is_not_adopted_while_its_thread_lives():
    with pollring.Ring(pinned=True) as ring:
        ring.submit()
        assert isinstance(in_thread(ring.adopt), OSError)


def test_a_ring_whose_thread_ended_can_be_closed(options, pair):
    a, peer = pair()
    ring = pollring.Ring(**options)
    poll = ring.poll_add(a)
    in_thread(lambda: ring.wait(0))
    with pytest.raises(RuntimeError):
        ring.wait(0)
    ring.close()
    assert poll.end_reason == "closed"
    a.close()
    assert readable(peer, GUARD)


def test_a_poll_may_be_dropped_in_any_thread(ring, pair):
    a, peer = pair()
    a_poll = [ring.poll_add(a)]
    peer.send(b"x")
    for _ in a_poll[0]:
        a.recv(10)
        break
    in_thread(a_poll.clear)
    gc.collect()
    assert ring.wait(0) == [] and ring.active == 0
    a.close()
    assert readable(peer) and peer.recv(10) == b""


# ---- in somebody else's loop ----


def test_fileno_wakes_a_loop_that_sleeps_and_is_quiet_after(ring, pipe):
    r, w = pipe()
    poll = ring.poll_add(r)
    with select.epoll() as host:
        host.register(ring.fileno(), select.EPOLLIN)
        assert host.poll(0)  # there is a request to submit
        assert ring.wait(0) == []
        assert host.poll(0) == []
        for _ in range(200):
            thread = threading.Thread(target=lambda: w.write(b"x"))
            thread.start()
            collected = []
            while not collected:
                assert host.poll(GUARD)
                collected = ring.wait(0)
            thread.join()
            assert collected == [(poll, POLLIN)]
            r.read(10)
            while host.poll(0):  # a wake-up too many is allowed, a spin is not
                assert ring.wait(0) == []
                assert host.poll(0) == []


def test_fileno_is_readable_while_events_are_queued(ring, pipe):
    (r1, w1), (r2, w2) = pipe(), pipe()
    first, second = ring.poll_add(r1), ring.poll_add(r2)
    ring.submit()
    fd = ring.fileno()
    w1.write(b"x")
    w2.write(b"x")
    assert first.wait() == POLLIN
    assert readable(fd)
    assert ring.wait(0) == [(second, POLLIN)]
    assert not readable(fd)


def test_a_batch_that_was_cut_stays_readable(ring, pipe):
    pipes = [pipe() for _ in range(3)]
    for r, w in pipes:
        w.write(b"x")
        ring.poll_add(r)
    fd = ring.fileno()
    for _ in pipes:
        assert readable(fd)
        ((poll, _),) = ring.wait(0, 1)
        poll.fileobj.read(10)
    ring.wait(0)
    assert not readable(fd)


def settle(ring, fd):
    """Until it is quiet: the kernel may signal an eventfd late, which is a wake-up too many, but no spin."""
    for _ in range(10):
        if not readable(fd):
            return
        assert ring.wait(0) == []
    pytest.fail("it spins")


def test_wake_reaches_a_loop_around_it(ring):
    fd = ring.fileno()
    ring.wait(0)
    for _ in range(50):
        settle(ring, fd)
        thread = threading.Thread(target=ring.wake)
        thread.start()
        assert readable(fd, GUARD)
        thread.join()
        assert ring.wait(0) == []


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="os.eventfd came with Python 3.10")
@pytest.mark.parametrize("nested_first", [True, False])
def test_fileno_wakes_for_eventfds_too(ring, nested_first):
    """They are a case of their own: the kernel signals no second eventfd from inside a first."""
    watched = os.eventfd(0, os.EFD_NONBLOCK)
    fd = ring.fileno() if nested_first else None
    poll = ring.poll_add(watched)
    ring.wait(0)
    fd = ring.fileno()
    for _ in range(50):
        settle(ring, fd)
        thread = threading.Thread(target=os.eventfd_write, args=(watched, 1))
        thread.start()
        assert readable(fd, GUARD)
        thread.join()
        assert ring.wait(0) == [(poll, POLLIN)]
        settle(ring, fd)  # though it stays unread
        os.eventfd_read(watched)
    os.close(watched)


def test_no_interrupt_is_left_behind_for_the_host(options, pipe):
    r, w = pipe()
    with select.epoll() as host:
        for _ in range(20):
            ring = pollring.Ring(**options)
            ring.poll_add(r)
            w.write(b"x")
            ring.wait()
            r.read(10)
            ring.close()
            started = time.monotonic()
            assert host.poll(0.005) == []  # Python retries EINTR, but the whole time has to pass
            assert time.monotonic() - started >= 0.005


def test_a_ring_is_never_polled_by_itself(ring):
    with pytest.raises(OSError, match="own"):
        ring.poll_add(ring)
