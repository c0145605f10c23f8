"""Who owns what, and what happens when: each line of docs/lifetime.md that speaks of Python."""

import errno
import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest

import pollring
from conftest import GUARD, readable
from pollring import POLLIN, POLLOUT
from test_ring import in_thread


def open_fds():
    listed = os.listdir("/proc/self/fd")  # with the one that lists them
    return {int(name) for name in listed if os.path.exists(f"/proc/self/fd/{name}")}


# ---- file descriptors ----


def test_every_fd_closes_on_exec(options, pair):
    a, _ = pair()
    before = open_fds()
    with pollring.Ring(**options) as ring:
        ring.fileno()
        for _ in range(3):
            ring.poll_add(a)
        ring.wait(0)
        if not options.get("pinned"):
            in_thread(ring.adopt)  # a new kernel ring in the place of the old one
            ring.adopt()
        opened = open_fds() - before
        assert len(opened) >= 4
        assert [fd for fd in opened if os.get_inheritable(fd)] == []
        listing = subprocess.check_output(["ls", "-l", "/proc/self/fd"], close_fds=False, text=True)
        assert "anon_inode" not in listing
    assert open_fds() - before == set()


# ---- closing ----


def test_other_threads_run_while_a_ring_that_was_nested_closes(options):
    """It sleeps then, for the kernel's interruption. A thread that only close() lets run sees it closed before it returns."""

    def seen_from_a_thread():
        ring = pollring.Ring(**options)
        ring.fileno()
        ring.wait(0)
        returned, seen = [], []

        def watch():
            while not ring.closed:
                time.sleep(0)  # lets the others run
            seen.append(not returned)

        thread = threading.Thread(target=watch)
        thread.start()
        ring.close()
        returned.append(True)
        thread.join()
        return seen[0]

    if options.get("backend") == "epoll":
        pytest.skip("the kernel interrupts nobody after an epoll's end")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(10)
    try:
        assert any(seen_from_a_thread() for _ in range(50))
    finally:
        sys.setswitchinterval(interval)


def test_polls_may_be_dropped_by_a_thread_while_another_closes_their_ring(options, pair):
    """The ring is nobody's yet in the first round, so that the thread might free them itself."""
    a, _ = pair()
    for waits in False, True:
        ring = pollring.Ring(**options)
        ring.fileno()
        polls = [ring.poll_add(a) for _ in range(200)]
        if waits:
            ring.wait(0)
        thread = threading.Thread(target=polls.clear)
        thread.start()
        ring.close()
        thread.join()
        assert ring.closed and not polls


# ---- cycles ----


class Node:
    """Something that a cycle can go through."""


def data_names_its_poll(ring, sock):
    poll = ring.poll_add(sock)
    poll.data = [poll, ring]
    return poll


def file_names_its_poll(ring, sock):
    sock.poll = ring.poll_add(sock)
    return sock.poll


def iterated_data_names_its_poll(ring, sock):
    return iter(data_names_its_poll(ring, sock))


def handler_names_its_ring(ring, sock):
    node = Node()
    node.ring, node.handler = ring, lambda: node.ring
    return ring.poll_add(sock, data=node)


def generator_is_left_inside_its_ring(ring, sock):
    poll = ring.poll_add(sock, POLLOUT)
    poll.data = ring.events()
    next(poll.data)
    return poll


def ring_names_itself(ring, sock):
    ring.itself = ring
    return ring.poll_add(sock)


class NamedRing(pollring.Ring):
    """Has attributes."""


class NamedFile:
    """A file with attributes."""

    def __init__(self, sock):
        self.fileno = sock.fileno


@pytest.mark.parametrize("make", [
    data_names_its_poll, file_names_its_poll, iterated_data_names_its_poll, handler_names_its_ring,
    generator_is_left_inside_its_ring, ring_names_itself,
])
def test_a_ring_in_a_cycle_is_collected(options, pair, make):
    a, peer = pair()
    ring = NamedRing(**options)
    poll = make(ring, NamedFile(a))
    ring.submit()
    gone = weakref.ref(ring), weakref.ref(poll)
    del ring, poll
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    a.close()
    assert readable(peer)  # the kernel has let the file go


def test_an_iterated_poll_in_a_cycle_is_collected_while_its_ring_lives(ring, pair):
    a, peer = pair()
    poll = weakref.ref(iterated_data_names_its_poll(ring, a))
    ring.submit()
    assert ring.active == 1
    gc.collect()
    assert poll() is None and ring.active == 0
    a.close()
    assert readable(peer)


def test_a_cycle_may_be_collected_in_any_thread(options, pair):
    a, peer = pair()
    ring = NamedRing(**options)
    gone = weakref.ref(data_names_its_poll(ring, a))
    ring.submit()
    del ring
    in_thread(gc.collect)
    assert gone() is None
    if not options.get("pinned"):  # then its thread holds the kernel's side until it ends
        a.close()
        assert readable(peer, GUARD)


def test_a_collection_in_the_middle_of_everything(options, pipe):
    """Finalisers that run at every allocation, and use the very ring."""
    r, w = pipe()
    ring = pollring.Ring(**options)
    errors = []

    class Meddler:
        def __init__(self):
            self.itself = self

        def __del__(self):
            try:
                ring.wait(0)
                for poll in polls:
                    poll.remove()
                ring.poll_add(w, POLLOUT)
                ring.stats()
            except Exception as error:
                errors.append(error)

    polls = []
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(100):
            Meddler()
            polls[:] = [ring.poll_add(r, data=Meddler()) for _ in range(4)]
            w.write(b"x")
            Meddler()
            ring.wait(0)
            for poll in polls[:2]:
                poll.wait(0)
    finally:
        gc.set_threshold(*thresholds)
    polls.clear()
    ring.close()
    gc.collect()
    assert all(isinstance(error, ValueError) for error in errors)  # those after close()


# ---- closing ----


def ready_polls(ring, pipe, count=3):
    polls = []
    for _ in range(count):
        r, w = pipe()
        w.write(b"x")
        polls.append(ring.poll_add(r))
    return polls


def test_closing_in_a_loop_over_a_batch(ring, pipe):
    polls = ready_polls(ring, pipe)
    seen = []
    for poll, _ in ring.wait():
        seen.append(poll)
        ring.close()
        assert not poll.active and poll.end_reason == "closed"
    assert set(seen) == set(polls)  # the list was complete before


def test_closing_in_a_loop_over_events(ring, pipe):
    ready_polls(ring, pipe)
    seen = 0
    for _ in ring.events():
        seen += 1
        ring.close()
    assert seen == 1


def test_closing_in_a_loop_over_a_poll(ring, pipe):
    poll, other, _ = ready_polls(ring, pipe)
    seen = 0
    for _ in poll:
        seen += 1
        ring.close()
        ring.close()
    assert seen == 1 and poll.end_reason == other.end_reason == "closed"


def test_an_iterator_that_was_left_ends_after_close(ring, pipe):
    poll, *_ = ready_polls(ring, pipe)
    iterator, events = iter(poll), ring.events()
    next(iterator), next(events)
    ring.close()
    assert list(iterator) == [] and list(events) == []


def test_removing_in_a_loop_over_a_batch(ring, pipe):
    polls = ready_polls(ring, pipe)
    batch = ring.wait()
    for _ in batch:
        for other in polls:
            other.remove()
    assert set(batch) == {(poll, POLLIN) for poll in polls}
    assert not any(poll.active for poll in polls)  # which is how the loop can tell
    assert set(ring.wait(0)) == {(poll, -errno.ECANCELED) for poll in polls}


def test_a_ring_that_was_dropped_is_kept_by_its_poll(options, pipe):
    r, w = pipe()
    poll = pollring.Ring(**options).poll_add(r)
    gc.collect()
    w.write(b"x")
    assert poll.wait() == POLLIN
    assert not poll.ring.closed


def test_polls_may_be_dropped_after_their_ring_was_closed(options, pipe):
    r, _ = pipe()
    for next_one in (0, -1):
        ring = pollring.Ring(**options)
        polls = [ring.poll_add(r) for _ in range(5)]
        ring.wait(0)
        ring.close()
        del ring
        while polls:
            del polls[next_one]


def asleep_in(wait):
    """Starts a thread that waits. Returns it and a list of what the wait gives; it is inside by then, or about to be."""
    about, results = threading.Event(), []

    def run():
        about.set()
        results.append(wait())

    thread = threading.Thread(target=run)
    thread.start()
    about.wait()
    return thread, results


@pytest.mark.parametrize("way", ["ring", "poll"])
def test_another_thread_can_neither_close_nor_adopt_while_the_owner_waits(options, pipe, way):
    r, w = pipe()
    ring = pollring.Ring(**options)
    poll = ring.poll_add(r)
    owner, results = asleep_in(lambda: (ring.wait if way == "ring" else poll.wait)(GUARD))
    with pytest.raises(RuntimeError, match="another thread"):
        while True:  # until the owner has begun, the ring is nobody's
            ring.remove_fd(w)
    with pytest.raises(RuntimeError, match="another thread"):
        ring.close()
    with pytest.raises(OSError) as refused:
        ring.adopt()
    assert refused.value.errno == errno.EBUSY
    w.write(b"x")
    owner.join()
    assert results == [[(poll, POLLIN)] if way == "ring" else POLLIN]
    ring.close()  # its owner has ended


def test_another_thread_s_loop_over_a_poll_changes_nothing(ring, pair):
    a, peer = pair()
    ring.poll_add(a)
    ring.submit()

    def iterate():
        (poll,) = [kept for kept in gc.get_referents(ring) if isinstance(kept, pollring.Poll)]
        return list(poll)

    assert isinstance(in_thread(iterate), RuntimeError)
    peer.send(b"x")
    assert [events for _, events in ring.wait()] == [POLLIN]  # the ring keeps it still
