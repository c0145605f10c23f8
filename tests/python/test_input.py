"""Whatever is passed, the error is clear, and nobody else's events are lost."""

import math
import sys

import pytest

import pollring
from pollring import POLLIN


class Liar:
    """Something with a fileno() that is wrong."""

    def __init__(self, answer):
        self.answer = answer

    def fileno(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def bystander(ring, pipe):
    """A poll that has to get its event in spite of all."""
    r, w = pipe()
    poll = ring.poll_add(r)
    w.write(b"x")
    yield poll
    assert ring.wait() == [(poll, POLLIN)] and ring.active == 1


@pytest.mark.parametrize("fileobj, error, text", [
    (-1, ValueError, "-1"),
    (2**31, ValueError, "2147483648"),
    (-(2**80), ValueError, str(-(2**80))),
    ("0", TypeError, "str"),
    (None, TypeError, "NoneType"),
    (1.0, TypeError, "float"),
    (Liar(-1), ValueError, "closed"),
    (Liar("0"), TypeError, "str"),
    (Liar(None), TypeError, "NoneType"),
    (Liar(2**70), ValueError, str(2**70)),
    (Liar(ZeroDivisionError("no")), ZeroDivisionError, "no"),
    (object, TypeError, "type"),
])
def test_files(ring, bystander, fileobj, error, text):
    for call in (ring.poll_add, ring.remove_fd):
        with pytest.raises(error, match=text):
            call(fileobj)


def test_the_highest_number_is_just_not_open(ring):
    with pytest.raises(OSError, match="2147483647"):
        next(ring.poll_add(2**31 - 1))
    assert ring.remove_fd(2**31 - 1) == 0


@pytest.mark.parametrize("events, error", [
    (-1, ValueError), (1 << 30, ValueError), (1 << 31, ValueError), (1 << 14, ValueError), (1 << 32, ValueError),
    (1 << 100, ValueError), ("in", TypeError), (None, TypeError), (1.0, TypeError),
])
def test_masks(ring, bystander, events, error):
    for exclusive in (False, True):
        with pytest.raises(error, match="events"):
            ring.poll_add(0, events, exclusive=exclusive)
    with pytest.raises(error):
        bystander.update(events)
    assert bystander.events == POLLIN


@pytest.mark.parametrize("timeout, error", [
    (-1, ValueError), (-1e-300, ValueError), (math.nan, ValueError), (math.inf, ValueError), (-math.inf, ValueError),
    (1e300, ValueError), (10**400, ValueError), (1e10, ValueError), ("1", TypeError), ([], TypeError),
])
def test_timeouts(ring, bystander, timeout, error):
    for wait in (ring.wait, bystander.wait):
        with pytest.raises(error, match="timeout"):
            wait(timeout)


def test_long_timeouts_are_timeouts(ring, bystander):
    assert bystander.wait(1e9) == POLLIN
    bystander.recheck()


@pytest.mark.parametrize("arguments", [
    {"entries": 0}, {"entries": -1}, {"entries": 32769}, {"entries": 2**40}, {"cq_entries": -1}, {"cq_entries": 65537},
    {"busy_poll": -1}, {"busy_poll": 10**7}, {"backend": "kqueue"}, {"backend": None}, {"setup": "fast"},
    {"setup": []},
])
def test_ring_options(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=name):
        pollring.Ring(**arguments)


def test_ring_option_types():
    for arguments in ({"entries": "1"}, {"entries": 1.5}, {"cq_entries": None}, {"unknown": 1}):
        with pytest.raises(TypeError):
            pollring.Ring(**arguments)


def test_max_events(ring, bystander):
    with pytest.raises(ValueError, match="max_events"):
        ring.wait(0, -1)
    with pytest.raises(TypeError):
        ring.wait(0, 1.5)


def test_objects_that_were_never_made_right(ring):
    """What a subclass, a copy or a call of __init__ too many can do."""
    raw = pollring.Ring.__new__(pollring.Ring)
    for call in (raw.wait, raw.submit, lambda: raw.poll_add(0), lambda: pollring.Poll(raw, 0, 1, 0, None)):
        with pytest.raises(ValueError):
            call()
    raw.close()
    with pytest.raises(ValueError, match="open already"):
        ring.__init__()
    for arguments in ((), (ring,), (None, 0, 1, 0, None), (ring, 0, 1, 99, None)):
        with pytest.raises((TypeError, ValueError)):
            pollring.Poll(*arguments)
    with pytest.raises(TypeError):
        pollring.Ring.wait(None)
    with pytest.raises(TypeError):
        pollring._pollring.submit(object())
    with pytest.raises(TypeError):
        pollring._pollring.poll_remove(ring)
    with pytest.raises(TypeError):
        import copy

        copy.copy(ring)


def test_a_fileno_that_closes_the_ring(options):
    ring = pollring.Ring(**options)

    class Closer:
        def fileno(self):
            ring.close()
            return 0

    with pytest.raises(ValueError, match="closed"):
        ring.poll_add(Closer())
    with pytest.raises(ValueError, match="closed"):
        ring.remove_fd(Closer())


def test_a_finaliser_that_closes_the_ring_in_its_batch(options, pipe):
    ring = pollring.Ring(**options)

    class Closer:
        def __del__(self):
            ring.close()

    pipes = [pipe() for _ in range(4)]
    for r, w in pipes:
        w.close()
        ring.poll_add(r, data=Closer())
    batch = ring.wait()
    assert len(batch) == 4
    del batch
    with pytest.raises(ValueError):
        ring.wait(0)


def test_references_are_balanced(ring, pipe):
    r, w = pipe()
    sentinel = object()
    before = sys.getrefcount(sentinel), sys.getrefcount(ring), sys.getrefcount(r)
    for _ in range(100):
        poll = ring.poll_add(r, data=sentinel)
        w.write(b"x")
        ring.wait()
        poll.remove()
        ring.wait()
        for bad in (-1, "x"):
            with pytest.raises((ValueError, TypeError)):
                ring.poll_add(bad, data=sentinel)
        r.read(10)
    del poll
    assert (sys.getrefcount(sentinel), sys.getrefcount(ring), sys.getrefcount(r)) == before
