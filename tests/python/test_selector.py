"""RingSelector beside the stdlib's EpollSelector: the same cases on both."""

import functools
import os
import selectors
import socket
import tempfile
import threading
import time
import unittest

import pytest

import pollring
from conftest import EPOLL, GUARD, is_asleep
from selectors import EVENT_READ, EVENT_WRITE

KINDS = {
    "stdlib": selectors.EpollSelector,
    "io_uring": pollring.RingSelector,
    "epoll": functools.partial(pollring.RingSelector, **EPOLL),
    "tiny": functools.partial(pollring.RingSelector, entries=2, cq_entries=4),
}


@pytest.fixture(params=KINDS)
def make(request):
    return KINDS[request.param]


@pytest.fixture
def selector(make):
    with make() as selector:
        yield selector


def selected(selector, timeout=0):
    return sorted((key.fd, events) for key, events in selector.select(timeout))


class Sleeper(threading.Thread):
    """Selects once in a thread; it sleeps in the kernel, or is done, when started() returns."""

    def __init__(self, selector, timeout=GUARD):
        super().__init__()
        self.selector, self.timeout, self.found = selector, timeout, None

    def run(self):
        self.found = selected(self.selector, self.timeout)

    def started(self):
        self.start()
        deadline = time.monotonic() + GUARD
        while self.is_alive() and time.monotonic() < deadline:
            try:
                if is_asleep(f"/proc/self/task/{self.native_id}"):
                    break
            except OSError:  # it has ended just now
                pass
        return self

    def result(self):
        self.join(GUARD)
        assert not self.is_alive()
        return self.found


def test_it_is_level_triggered(selector, pair):
    near, far = pair()
    selector.register(near, EVENT_READ, "data")
    assert selected(selector) == []
    far.send(b"xy")
    for _ in range(3):
        [(key, events)] = selector.select(0)
        assert key == (near, near.fileno(), EVENT_READ, "data") and events == EVENT_READ
    near.recv(1)
    assert selected(selector, None) == [(near.fileno(), EVENT_READ)]
    near.recv(1)
    assert selected(selector) == []
    far.send(b"z")
    assert selected(selector, None) == [(near.fileno(), EVENT_READ)]


def test_what_was_read_before_the_selection_is_not_reported(selector, pair):
    near, far = pair()
    selector.register(near, EVENT_READ)
    selected(selector)
    far.send(b"x")
    near.recv(1)
    assert selected(selector) == []


def test_both_directions(selector, pair):
    near, far = pair()
    selector.register(near, EVENT_READ | EVENT_WRITE)
    assert selected(selector) == [(near.fileno(), EVENT_WRITE)]
    far.send(b"x")
    assert selected(selector) == [(near.fileno(), EVENT_READ | EVENT_WRITE)]
    selector.modify(near, EVENT_READ)
    assert selected(selector) == [(near.fileno(), EVENT_READ)]
    selector.modify(near, EVENT_WRITE, "other")
    [(key, events)] = selector.select(0)
    assert events == EVENT_WRITE and key.data == "other"


def test_end_of_file_goes_on_being_ready(selector, pair):
    near, far = pair()
    selector.register(near, EVENT_READ)
    far.close()
    for _ in range(3):
        assert selected(selector) == [(near.fileno(), EVENT_READ)]
    assert near.recv(1) == b""
    assert selected(selector) == [(near.fileno(), EVENT_READ)]


def test_a_fifo_whose_writer_comes_back(selector, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    r = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        selector.register(r, EVENT_READ)
        for _ in range(3):
            w = os.open(tmp_path / "fifo", os.O_WRONLY)
            os.write(w, b"x")
            assert selected(selector) == [(r, EVENT_READ)]
            os.close(w)
            os.read(r, 10)
        selector.unregister(r)
    finally:
        os.close(r)


def test_many_files(selector, pair):
    pairs = [pair() for _ in range(200)]
    for near, _ in pairs:
        selector.register(near, EVENT_READ)
    assert selected(selector) == []
    for turn in range(3):
        written = pairs[turn::3]
        for _, far in written:
            far.send(b"x")
        expected = sorted((near.fileno(), EVENT_READ) for near, _ in written)
        seen = set()
        while len(seen) < len(expected):
            seen.update(selected(selector, GUARD))
        assert sorted(seen) == expected == selected(selector)
        for near, _ in written:
            near.recv(1)
    assert selected(selector) == []


def test_unregistering_lets_the_file_go(selector, pair):
    near, far = pair()
    selector.register(near, EVENT_READ)
    selected(selector)
    selector.unregister(near)
    near.close()
    assert far.recv(1) == b""


def test_a_number_that_is_reused(selector, pipe):
    for _ in range(20):
        r, w = pipe()
        key = selector.register(r, EVENT_READ)
        w.write(b"x")
        assert selected(selector) == [(key.fd, EVENT_READ)]
        selector.unregister(r)
        r.close()
        w.close()


def test_a_file_that_was_closed_too_early_can_be_unregistered(selector, pair):
    near, far = pair()
    selector.register(near, EVENT_READ)
    selected(selector)
    far.send(b"x")
    near.close()
    assert selected(selector) == []
    selector.unregister(near)


def test_what_can_not_be_selected(selector, pair):
    near, _ = pair()
    with tempfile.TemporaryFile() as file:
        with pytest.raises(PermissionError):
            selector.register(file, EVENT_READ)
    with pytest.raises(OSError, match="Bad file descriptor"):
        selector.register(19999, EVENT_READ)
    assert not selector.get_map()
    for events in (0, 4, "in"):
        with pytest.raises((ValueError, TypeError)):
            selector.register(near, events)
    with pytest.raises(ValueError):
        selector.register(-1, EVENT_READ)
    with pytest.raises(KeyError):
        selector.unregister(near)
    with pytest.raises(KeyError):
        selector.modify(near, EVENT_READ)
    selector.register(near, EVENT_READ)
    with pytest.raises(KeyError):
        selector.register(near, EVENT_READ)


def test_timeouts(selector):
    for timeout in (0, -1, 0.02):
        started = time.monotonic()
        assert selector.select(timeout) == []
        assert time.monotonic() - started >= max(timeout, 0)


@pytest.mark.parametrize("timeout", ["1", []])
def test_a_timeout_that_is_no_number(timeout):
    with pollring.RingSelector() as selector, pytest.raises(TypeError, match="timeout must be None or a number"):
        selector.select(timeout)


def test_close(make, pair):
    near, far = pair()
    selector = make()
    selector.register(near, EVENT_READ)
    selector.select(0)
    selector.close()
    selector.close()
    assert selector.get_map() is None
    near.close()
    assert far.recv(1) == b""


# ---- threads ----


def test_registered_by_another_thread_during_a_select(selector, pair):
    near, far = pair()
    far.send(b"x")
    sleeper = Sleeper(selector).started()
    selector.register(near, EVENT_READ)
    assert sleeper.result() == [(near.fileno(), EVENT_READ)]


def test_modified_by_another_thread_during_a_select(make, selector, pair):
    if make is selectors.EpollSelector:
        pytest.skip("the stdlib's can wake before its key is changed, and report no events")
    near, _ = pair()
    selector.register(near, EVENT_READ)
    sleeper = Sleeper(selector).started()
    selector.modify(near, EVENT_WRITE)
    assert sleeper.result() == [(near.fileno(), EVENT_WRITE)]


def test_unregistered_by_another_thread_during_a_select(selector, pair):
    (near, far), (other, other_far) = pair(), pair()
    selector.register(near, EVENT_READ)
    selector.register(other, EVENT_READ)
    sleeper = Sleeper(selector).started()
    selector.unregister(near)
    near.close()
    far.settimeout(GUARD)
    assert far.recv(1) == b""  # soon
    other_far.send(b"x")
    assert sleeper.result() == [(other.fileno(), EVENT_READ)]


def test_one_thread_after_the_other(selector, pair):
    near, far = pair()
    selector.register(near, EVENT_READ)
    assert selected(selector) == []
    far.send(b"x")
    for _ in range(3):
        assert Sleeper(selector).started().result() == selected(selector) == [(near.fileno(), EVENT_READ)]


def test_two_threads_at_once(selector, pair):
    near, far = pair()
    selector.register(near, EVENT_READ)
    sleepers = [Sleeper(selector).started(), Sleeper(selector)]
    sleepers[1].start()
    far.send(b"x")
    assert [sleeper.result() for sleeper in sleepers] == [[(near.fileno(), EVENT_READ)]] * 2


def test_one_waits_for_its_turn_no_longer_than_asked(selector, pair):
    near, far = pair()
    selector.register(near, EVENT_READ)
    sleeper = Sleeper(selector).started()
    assert selected(selector, 0.02) == []
    far.send(b"x")
    assert sleeper.result()


def test_changes_by_another_thread_under_load(selector, pair):
    """One thread selects and reads, another registers, modifies and unregisters: every byte is seen."""
    seen, pairs = 0, [pair() for _ in range(50)]

    def change():
        for turn in range(10):
            for near, far in pairs[turn % 2::2]:
                selector.register(near, EVENT_READ)
                far.send(b"x")
            for near, _ in pairs[turn % 2::2]:
                while near in selector.get_map() and not done.wait(0):
                    if near.fileno() in answered:
                        answered.discard(near.fileno())
                        break
                selector.unregister(near)

    answered, done = set(), threading.Event()
    thread = threading.Thread(target=change)
    thread.start()
    deadline = time.monotonic() + GUARD
    while thread.is_alive() and time.monotonic() < deadline:
        for key, _ in selector.select(0.01):
            try:
                key.fileobj.recv(10)
            except BlockingIOError:
                continue
            seen += 1
            answered.add(key.fd)
    done.set()
    thread.join()
    assert seen == 250


# ---- CPython's own ----


def test_cpython_s_cases():
    cases = pytest.importorskip("test.test_selectors", reason="the stdlib's tests are not installed")
    for options in {}, EPOLL:
        case = type("RingSelectorTestCase", (cases.EpollSelectorTestCase,),
                    {"SELECTOR": type("RingSelector", (pollring.RingSelector,), {  # a class: its name is asked for
                        "__init__": functools.partialmethod(pollring.RingSelector.__init__, **options)})})
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
        assert result.testsRun > 10 and not result.failures + result.errors, result.failures + result.errors


def test_asyncio_runs_on_it():
    import asyncio

    async def main():
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=near)
        _, far_writer = await asyncio.open_connection(sock=far)
        far_writer.write(b"line\n")
        assert await reader.readline() == b"line\n"
        await asyncio.to_thread(time.sleep, 0)
        for one in writer, far_writer:
            one.close()
            await one.wait_closed()
        return "done"

    loop = asyncio.SelectorEventLoop(pollring.RingSelector())
    try:
        assert loop.run_until_complete(asyncio.wait_for(main(), GUARD)) == "done"
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
