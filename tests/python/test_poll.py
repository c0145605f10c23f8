"""A poll's life: how it is armed, how it ends, and what it tells afterwards."""

import errno
import gc
import os
import socket
import tempfile
import weakref

import pytest

import pollring
from conftest import readable
from pollring import EPOLLEXCLUSIVE, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP


def test_its_properties(ring, pipe):
    r, _ = pipe()
    data = object()
    poll = ring.poll_add(r, POLLIN, exclusive=True, multishot=False, data=data)
    assert (poll.fd, poll.fileobj, poll.data, poll.ring) == (r.fileno(), r, data, ring)
    assert poll.events == POLLIN | EPOLLEXCLUSIVE and not poll.multishot
    assert poll.active and poll.end_reason is None
    assert ring.active == 1


def test_removal_is_told_to_waits_and_ends_iteration(ring, pipe):
    r, w = pipe()
    told, iterated = ring.poll_add(r), ring.poll_add(r)
    ring.submit()
    told.remove()
    told.remove()  # harmless
    assert ring.wait(0) == [(told, -errno.ECANCELED)]
    assert told.end_reason == "removed" and not told.active
    w.write(b"x")
    for events in iterated:
        iterated.remove()
    assert iterated.end_reason == "removed"


def test_removing_releases_the_file(ring, pair):
    a, peer = pair()
    poll = ring.poll_add(a)
    ring.submit()
    poll.remove()
    a.close()
    assert readable(peer) and peer.recv(10) == b""


def test_an_armed_poll_holds_the_file(ring, pair):
    a, peer = pair()
    ring.poll_add(a.fileno())
    ring.submit()
    fd = a.detach()
    assert ring.remove_fd(fd) == 1
    os.close(fd)
    assert readable(peer)


def test_remove_fd_removes_every_poll_of_a_file(ring, pair):
    a, b = pair()
    mine = [ring.poll_add(a, mask) for mask in (POLLIN, POLLIN, POLLIN | POLLOUT)]
    other = ring.poll_add(b)
    ring.submit()
    assert ring.remove_fd(a) == 3 and ring.remove_fd(a) == 0
    assert all(poll.end_reason == "removed" for poll in mine) and other.active
    assert {poll for poll, events in ring.wait(0) if events == -errno.ECANCELED} == set(mine)


def test_with_removes_it(ring, pipe):
    r, _ = pipe()
    with ring.poll_add(r) as poll:
        ring.submit()
        assert poll.active
    assert poll.end_reason == "removed"


def test_hangup_ends_it(ring, pair, pipe):
    a, peer = pair()
    poll = ring.poll_add(a)
    peer.shutdown(socket.SHUT_WR)
    ((_, events),) = ring.wait()
    assert events & POLLRDHUP and not events.more and poll.end_reason == "hangup"

    r, w = pipe()
    writing = ring.poll_add(w, POLLOUT)
    assert writing.wait() == POLLOUT
    r.close()
    events = writing.wait()
    assert events & POLLERR and not events.more and writing.end_reason == "hangup"


def test_half_closed_sockets_go_on_for_who_wants_to_write(ring, pair):
    a, peer = pair()
    poll = ring.poll_add(a, POLLIN | POLLOUT)
    assert poll.wait() & POLLOUT
    peer.shutdown(socket.SHUT_WR)
    events = poll.wait()
    assert events & POLLRDHUP and events.more and poll.active
    peer.close()
    assert poll.wait() & POLLHUP and poll.end_reason == "hangup"


def test_a_fifo_comes_back_where_hangup_is_kept(ring):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "fifo")
        os.mkfifo(path)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        poll = ring.poll_add(fd, until_hangup=False)
        for text in (b"first", b"second"):
            writer = os.open(path, os.O_WRONLY)
            os.write(writer, text)
            assert poll.wait() & POLLIN and os.read(fd, 100) == text
            os.close(writer)
            events = poll.wait()
            assert events & POLLHUP and events.more
        poll.remove()
        os.close(fd)


def test_one_shot_ends_after_its_event_and_can_be_armed_again(ring, pipe):
    r, w = pipe()
    w.write(b"x")
    poll = ring.poll_add(r, multishot=False)
    for _ in range(3):
        (got,) = ring.wait()
        assert got == (poll, POLLIN) and not got[1].more
        assert poll.end_reason == "oneshot" and not poll.active
        poll.arm()
        assert poll.active and poll.end_reason is None
    with pytest.raises(OSError) as caught:
        poll.arm()
    assert caught.value.errno == errno.EALREADY


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/", __file__])
def test_what_the_kernel_does_not_poll_ends_with_its_first_event(ring, path):
    fd = os.open(path, os.O_RDONLY)
    poll = ring.poll_add(fd)
    events = [e for e in poll]
    assert len(events) == 1 and events[0] & POLLIN and not events[0].more
    assert poll.end_reason == "unpollable"
    os.close(fd)


def test_a_closed_fd_is_an_error_that_names_it(ring):
    fd = os.open("/", os.O_RDONLY)
    os.close(fd)
    poll = ring.poll_add(fd)
    assert ring.wait() == [(poll, -errno.EBADF)]
    assert poll.end_reason == "error"
    with pytest.raises(OSError, match=f"fd {fd}") as caught:
        for _ in ring.poll_add(fd):
            pass
    assert caught.value.errno == errno.EBADF
    assert ring.poll_add(fd).wait() == -errno.EBADF


def test_update_and_recheck_of_an_ended_poll_say_so(ring, pipe):
    r, _ = pipe()
    poll = ring.poll_add(r)
    poll.remove()
    for call in (poll.recheck, lambda: poll.update(POLLIN)):
        with pytest.raises(OSError, match="has ended") as caught:
            call()
        assert caught.value.errno == errno.ENOENT and f"fd {poll.fd}" in str(caught.value)


def test_a_reused_number_gets_its_own_events_only(ring, pair):
    for _ in range(50):
        a, peer = pair()
        old = ring.poll_add(a)
        ring.submit()
        peer.send(b"old")
        ring.remove_fd(a)
        number = a.fileno()
        a.close()
        b, b_peer = pair()
        new = ring.poll_add(b)
        assert number in (b.fileno(), b_peer.fileno())
        assert ring.wait(0) == [(old, -errno.ECANCELED)]
        b_peer.send(b"new")
        assert ring.wait() == [(new, POLLIN)]
        new.remove()
        ring.wait(0)


# ---- who keeps whom alive ----


def test_the_ring_keeps_an_armed_poll_that_was_dropped(ring, pair):
    a, peer = pair()
    ring.poll_add(a, data="mine")
    gc.collect()
    peer.send(b"x")
    ((poll, events),) = ring.wait()
    assert poll.data == "mine" and events == POLLIN


def test_break_removes_a_poll_that_nobody_else_holds(ring, pair):
    a, peer = pair()
    peer.send(b"x")
    for _ in ring.poll_add(a):
        a.recv(10)
        break
    assert ring.active == 0
    a.close()
    assert readable(peer) and peer.recv(1) == b""


def test_what_is_iterated_is_kept_by_its_users(ring, pair):
    a, peer = pair()
    poll = ring.poll_add(a)
    peer.send(b"x")
    for _ in poll:
        break
    assert poll.active and ring.active == 1
    del poll
    assert ring.active == 0


def test_an_ended_poll_is_let_go(ring, pipe):
    r, w = pipe()
    poll = weakref.ref(ring.poll_add(r))
    w.close()
    assert poll() is not None
    batch = ring.wait()
    assert batch[0][0] is poll()
    del batch
    assert poll() is None


def test_the_file_lives_as_long_as_its_poll(ring, pair):
    a, peer = pair()
    file = a.makefile("rb", buffering=0)
    dropped = weakref.ref(file)
    poll = ring.poll_add(file)
    del file
    assert dropped() is not None
    del poll
    assert dropped() is not None  # armed: the ring keeps both
    ring.remove_fd(a)
    ring.wait(0)
    assert dropped() is None


def test_cycles_are_collected(options, pair):
    a, peer = pair()
    ring = pollring.Ring(**options)
    poll = ring.poll_add(a)
    poll.data = [poll, ring]
    ring.submit()
    gone = weakref.ref(ring), weakref.ref(poll)
    del ring, poll
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    a.close()
    assert readable(peer)  # and the kernel's side went with them


def test_a_poll_outlives_its_ring(options, pair):
    a, _ = pair()
    with pollring.Ring(**options) as ring:
        poll, ended = ring.poll_add(a), ring.poll_add(a)
        ended.remove()
    assert poll.end_reason == "closed" and ended.end_reason == "removed"
    assert poll.wait() is None and list(poll) == [] and not poll.active
    poll.remove()
    for call in (poll.arm, poll.recheck, lambda: poll.update(1)):
        with pytest.raises(ValueError, match="closed"):
            call()
    assert "closed" in repr(poll)


def test_repr(ring, pipe):
    r, _ = pipe()
    poll = ring.poll_add(r)
    assert repr(poll) == f"<pollring.Poll fd={r.fileno()} POLLIN active>"
    poll.remove()
    assert "ended: removed" in repr(poll)


def test_an_update_before_the_event_of_an_unpollable_file_is_heeded(ring):
    with open("/dev/null") as null:
        poll = ring.poll_add(null, POLLOUT)
        ring.submit()
        poll.update(POLLIN)
        assert ring.wait(0) == [(poll, POLLIN)]
        assert poll.end_reason == "unpollable"
