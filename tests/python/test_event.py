"""What events say, when they come, and that none is lost."""

import os
import select
import time

import pytest

import pollring
from conftest import PATIENCE
from pollring import POLLHUP, POLLIN, POLLOUT, POLLRDHUP, Events


def test_events_are_ints_that_name_their_bits():
    events = Events(17, more=True)
    assert events == POLLIN | POLLHUP and events & POLLIN
    assert repr(events) == "<POLLIN|POLLHUP: 17>" and f"{events}" == "POLLIN|POLLHUP"
    assert str(Events(POLLIN | pollring.EPOLLEXCLUSIVE)) == "POLLIN|EPOLLEXCLUSIVE"  # what a poll's events can be
    assert events.more is True and Events(1).more is False
    assert repr(Events(-9)) == "<EBADF: -9>" and repr(Events(0)) == "<0: 0>"


def test_constants_are_those_of_select():
    for name in pollring.__all__:
        if name.startswith("POLL") and hasattr(select, name):
            assert getattr(pollring, name) == getattr(select, name), name
    assert pollring.EPOLLEXCLUSIVE == select.EPOLLEXCLUSIVE


def test_level_at_arm_then_edges_only(ring, pipe):
    r, w = pipe()
    w.write(b"before")
    poll = ring.poll_add(r)
    assert ring.wait() == [(poll, POLLIN)]
    assert ring.wait(0) == []  # the data stays unread: silence
    w.write(b"more")
    (got,) = ring.wait()
    assert got == (poll, POLLIN) and got[1].more and type(got[1]) is Events
    assert poll.active


def test_iteration_yields_until_hangup(ring, pipe):
    r, w = pipe()
    seen = []
    w.write(b"x")
    for events in ring.poll_add(r):
        seen.append(events)
        if len(seen) < 3:
            r.read(100)
            w.write(b"x")
        elif len(seen) == 3:
            w.close()
    assert [e & POLLIN for e in seen] == [POLLIN] * 4
    assert [e.more for e in seen] == [True, True, True, False]
    assert seen[-1] & POLLHUP


def test_a_batch_is_complete_and_cut_by_max_events(ring, pipe):
    pipes = [pipe() for _ in range(50)]
    polls = {ring.poll_add(r) for r, _ in pipes}
    ring.submit()
    for _, w in pipes:
        w.write(b"x")
    first = ring.wait(max_events=7)
    for poll, _ in first:
        poll.fileobj.read(10)  # before the next wait: one that overflow ended is armed again by it
    rest = ring.wait(0)
    assert len(first) == 7 and len(rest) == 43 and {poll for poll, _ in first + rest} == polls
    for poll, _ in rest:
        poll.fileobj.read(10)
    assert ring.wait(0) == []


def full_queue_ends_polls(pipe):
    """Whether this kernel does that, found by trying: the io_uring of 5.15 doesn't."""
    _, writer = pipe()
    with pollring.Ring(entries=2, cq_entries=4) as ring:
        polls = [ring.poll_add(writer, POLLOUT, rearm=False) for _ in range(8)]
        ring.wait(0)
        return any(poll.end_reason == "overflow" for poll in polls)


def test_a_thousand_files_at_once_a_hundred_times_none_lost(pipe):
    with pollring.Ring(entries=2, cq_entries=4) as ring:
        fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(1000)] if hasattr(os, "eventfd") else None
        if fds is None:
            pytest.skip("os.eventfd came with Python 3.10")
        for fd in fds:
            ring.poll_add(fd)
        for _ in range(100):
            for fd in fds:
                os.eventfd_write(fd, 1)
            missing = set(fds)
            while missing:
                for poll, events in ring.wait():
                    assert events == POLLIN and events.more
                    os.eventfd_read(poll.fd)
                    missing.discard(poll.fd)
        assert ring.active == 1000 and (ring.stats()["rearmed"] > 10000 or not full_queue_ends_polls(pipe))
        assert ring.stats()["events"] < 1.1 * 100 * 1000  # and none is told again and again
        for fd in fds:
            os.close(fd)


def test_two_iterators_nested_lose_and_reorder_nothing(ring, pair):
    a, a_peer = pair()
    b, b_peer = pair()
    outer = ring.poll_add(a)
    inner = ring.poll_add(b)
    log = []
    for peer in (a_peer, b_peer):
        peer.send(b"1")
    for events in outer:
        log.append(("outer", a.recv(10)))
        a_peer.send(b"2") if len(log) == 1 else a_peer.close()
        for events in inner:
            log.append(("inner", b.recv(10)))
            b_peer.send(b"2") if log.count(("inner", b"1")) and len(log) < 3 else b_peer.close()
            if events & POLLRDHUP:
                break
        if events & POLLRDHUP and not inner.active:
            continue
    assert [entry for entry in log if entry[0] == "outer"] == [("outer", b"1"), ("outer", b"2"), ("outer", b"")]
    assert ("inner", b"1") in log and ("inner", b"2") in log and not inner.active


def test_waits_and_iteration_mix(ring, pipe):
    (r1, w1), (r2, w2) = pipe(), pipe()
    first, second = ring.poll_add(r1), ring.poll_add(r2)
    w2.write(b"x")
    assert ring.wait() == [(second, POLLIN)]
    r2.read(10)
    w2.write(b"x")
    w1.write(b"x")
    assert next(first) == POLLIN  # and second's event is kept
    assert ring.wait(0) == [(second, POLLIN)]
    w1.close()
    assert first.wait() & POLLHUP
    assert first.wait() is None


def test_poll_wait_tells_timeout_from_end(ring, pipe):
    r, w = pipe()
    poll = ring.poll_add(r)
    started = time.monotonic()
    assert poll.wait(0.02) == 0 and time.monotonic() - started >= 0.02
    assert poll.wait(timeout=0) == 0
    poll.remove()
    assert poll.wait() is None


def test_events_goes_on_until_no_poll_is_active(ring, pipe):
    pipes = [pipe() for _ in range(3)]
    polls = [ring.poll_add(r, data=w) for r, w in pipes]
    for _, w in pipes:
        w.write(b"x")
    ended = []
    for poll, events in ring.events():
        if events.more:
            poll.data.close()
        else:
            ended.append(poll)
    assert sorted(map(id, ended)) == sorted(map(id, polls))


def test_a_poll_removed_earlier_in_the_batch_tells_nothing_but_its_end(ring, pipe):
    pipes = [pipe() for _ in range(8)]
    polls = [ring.poll_add(r) for r, _ in pipes]
    for _, w in pipes:
        w.write(b"x")
    seen = []
    for poll, events in ring.events():
        seen.append((poll, events))
        for other in polls:
            if other is not poll:
                other.remove()
        if len(seen) == 1:
            poll.remove()
    assert seen[0][1] == POLLIN
    assert [events for _, events in seen[1:]] == [-125] * 8


def test_wait_keeps_its_timeout(ring):
    started = time.monotonic()
    assert ring.wait(0.03) == []
    assert 0.03 <= time.monotonic() - started < 2 * PATIENCE
    started = time.monotonic()
    assert ring.wait(0) == [] and ring.wait(1e-12) == []
    assert time.monotonic() - started < 0.5 * PATIENCE


def test_busy_poll_finds_events_and_keeps_timeouts(pipe):
    with pollring.Ring(busy_poll=100) as ring:
        r, w = pipe()
        poll = ring.poll_add(r)
        assert ring.wait(0.005) == []
        w.write(b"x")
        assert ring.wait() == [(poll, POLLIN)]


def test_interests_can_be_updated_and_rechecked(ring, pair):
    a, peer = pair()
    poll = ring.poll_add(a, POLLIN)
    assert ring.wait(0) == []
    poll.update(POLLIN | POLLOUT)
    assert poll.events == POLLIN | POLLOUT
    assert ring.wait() == [(poll, POLLOUT)]
    poll.update(POLLIN)
    peer.send(b"x")
    told = ring.wait() + ring.wait(0)  # the update looks at the file too: it may tell the same once more
    assert told and all(events == POLLIN for _, events in told)
    assert ring.wait(0) == []
    poll.recheck()
    assert ring.wait() == [(poll, POLLIN)]
