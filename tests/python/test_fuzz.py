"""Any value for any argument of any public call: no crash, and none but the documented exceptions (hypothesis)."""

from datetime import timedelta

import pytest

import pollring
from conftest import PATIENCE

hypothesis = pytest.importorskip("hypothesis", reason="python3-hypothesis is not installed")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

DOCUMENTED = (OSError, ValueError, TypeError)
EXAMPLES = settings(max_examples=60, deadline=timedelta(seconds=5 * PATIENCE), derandomize=True, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


class Fileno:
    """Whatever fileno() may give."""

    def __init__(self, answer):
        self.answer = answer

    def fileno(self):
        return self.answer

    def __repr__(self):
        return f"Fileno({self.answer!r})"


class Number:
    """Whatever an object that stands for a number may give."""

    def __init__(self, answer):
        self.answer = answer

    def __index__(self):
        return self.answer

    def __float__(self):
        return self.answer

    def __bool__(self):
        return self.answer

    def __repr__(self):
        return f"Number({self.answer!r})"


INTEGERS = st.one_of(st.integers(-2, 70), st.sampled_from([sign * 2**bits + more for bits in (13, 28, 31, 32, 63, 64)
                                                           for sign in (-1, 1) for more in (-1, 0, 1)]))
PLAIN = st.one_of(st.none(), st.booleans(), INTEGERS, st.floats(), st.text(max_size=3), st.binary(max_size=3),
                  st.lists(st.integers(), max_size=2), st.just(object), st.builds(object), st.complex_numbers())
ANY = st.one_of(PLAIN, st.builds(Fileno, PLAIN), st.builds(Number, PLAIN),
                st.sampled_from([pollring.Ring, pollring.Poll, pollring.Events(1)]))
# Whoever's fd a number is: it is only watched.
KEYWORDS = st.dictionaries(st.sampled_from(["multishot", "exclusive", "rearm", "until_hangup", "data", "events"]), ANY,
                           max_size=3)
SETTINGS = st.dictionaries(st.sampled_from(["entries", "cq_entries", "backend", "sealed", "busy_poll", "setup",
                                            "pinned"]), st.one_of(ANY, st.sampled_from(["auto", "plain", "io_uring"])),
                           max_size=3)


def attempt(call, *arguments, **keywords):
    """The result, or None where it refused in one of the documented ways, with a text."""
    try:
        return call(*arguments, **keywords)
    except DOCUMENTED as error:
        assert str(error)
        return None


def is_short(seconds):
    """As a timeout; None waits for ever."""
    answer = getattr(seconds, "answer", seconds)
    return seconds is not None and not (isinstance(answer, (int, float)) and answer > 0.01)


SHORT = ANY.filter(is_short)


@given(settings_of_ring=SETTINGS)
@EXAMPLES
def test_opening(settings_of_ring):
    ring = attempt(pollring.Ring, **settings_of_ring)
    if ring is not None:
        assert attempt(ring.wait, 0) == []
        ring.close()


@given(fileobj=ANY, events=ANY, keywords=KEYWORDS)
@EXAMPLES
def test_adding_and_removing(ring, pipe, fileobj, events, keywords):
    reader, writer = pipe()
    bystander = ring.poll_add(reader)
    poll = attempt(ring.poll_add, fileobj, **{"events": events, **keywords})
    attempt(ring.wait, 0)
    if poll is not None:
        assert poll.end_reason is None or isinstance(poll.end_reason, str)
        assert repr(poll)
        poll.remove()
    assert attempt(ring.remove_fd, fileobj) in (0, 1, None)  # 1: hypothesis has guessed the bystander's
    ring.wait(0)
    if bystander.active:
        writer.write(b"x")
        assert (bystander, pollring.POLLIN) in ring.wait(1)
        bystander.remove()
    ring.wait(0)


@given(events=ANY, timeout=SHORT, most=ANY, data=ANY)
@EXAMPLES
def test_polls_and_waits(ring, pipe, events, timeout, most, data):
    reader, writer = pipe()
    poll = ring.poll_add(reader, data=data)
    assert poll.data is data
    attempt(poll.update, events)
    attempt(ring.wait, timeout, most)
    attempt(poll.wait, timeout)
    attempt(ring.wait, timeout=timeout, max_events=most)
    attempt(poll.update, pollring.POLLIN)
    poll.data = data
    if poll.active:
        writer.write(b"x")
        assert poll.wait(1) == pollring.POLLIN
    poll.remove()
    ring.wait(0)


@given(call=st.sampled_from(["submit", "wake", "adopt", "fileno", "close", "stats", "events", "wait", "remove_fd"]),
       arguments=st.lists(SHORT, max_size=3))
@EXAMPLES
def test_any_method_with_any_arguments(options, call, arguments):
    with pollring.Ring(**options) as ring:
        if call != "wait" or arguments:
            attempt(getattr(ring, call), *arguments)
    with pytest.raises(ValueError):
        ring.wait(0)


@given(value=ANY, more=ANY)
@EXAMPLES
def test_events(value, more):
    events = attempt(pollring.Events, value, more)
    if events is not None:
        assert events == int(events) and isinstance(events.more, bool)
        attempt(str, events)
        attempt(repr, events)


@given(arguments=st.lists(ANY, max_size=5))
@EXAMPLES
def test_polls_are_made_by_rings(ring, arguments):
    assert attempt(pollring.Poll, *arguments) is None
