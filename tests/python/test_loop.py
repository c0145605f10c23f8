"""The event loop for asyncio. What asyncio promises is tested on its own loop too, where a test that fails is wrong."""

import asyncio
import collections.abc
import contextvars
import errno
import gc
import logging
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
import weakref

import pytest
from conftest import GUARD, readable, run

import pollring


@pytest.fixture
def one_loop():
    """For what doesn't depend on the ring."""
    loop = pollring.new_event_loop()
    yield loop
    loop.close()


def run_soon(loop, iterations=1):
    """Runs what is ready, and what that made ready."""
    for _ in range(iterations):
        loop.call_soon(loop.stop)
        loop.run_forever()


def tell(loop, collected):
    """Runs the loop until something was collected."""

    def look():
        if collected:
            loop.stop()
        else:
            loop.call_later(0.001, look)

    loop.call_soon(look)
    loop.run_forever()


# ---- callbacks ----


def test_callbacks_run_in_order_and_once(loop):
    called = []
    for i in range(200):
        loop.call_soon(called.append, i)
    run_soon(loop, 2)
    assert called == list(range(200))


def test_what_a_callback_schedules_runs_in_the_next_iteration(loop):
    called = []

    def first():
        loop.call_soon(called.append, "second")
        called.append("first")

    loop.call_soon(first)
    run_soon(loop)
    assert called == ["first"]
    run_soon(loop)
    assert called == ["first", "second"]


def test_handles_are_asyncios(loop):
    handle = loop.call_soon(print)
    timer = loop.call_later(1000, print)
    assert isinstance(handle, asyncio.Handle) and not isinstance(handle, asyncio.TimerHandle)
    assert isinstance(timer, asyncio.TimerHandle)
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    timer.cancel()
    assert handle.cancelled() and timer.cancelled()
    assert repr(handle) == "<Handle cancelled>" and repr(timer).startswith("<TimerHandle cancelled when=")


def test_a_cancelled_callback_does_not_run_and_is_let_go(loop):
    class Callback:
        def __call__(self):
            raise AssertionError

    callback = Callback()
    gone = weakref.ref(callback)
    handles = [loop.call_soon(callback), loop.call_later(0, callback), loop.call_later(1000, callback)]
    del callback
    for handle in handles:
        handle.cancel()
    gc.collect()
    assert gone() is None
    run_soon(loop, 2)


def test_a_callback_may_cancel_its_own_handle(loop):
    called = []

    def callback():
        handle.cancel()
        called.append(1)

    handle = loop.call_soon(callback)
    run_soon(loop)
    assert called == [1]


def test_names_of_arguments_are_asyncios(loop):
    called = []
    loop.call_soon(callback=lambda: called.append(1))
    loop.call_later(delay=0, callback=lambda: called.append(2))
    loop.call_at(when=0, callback=lambda: called.append(3))
    run_soon(loop, 2)
    assert sorted(called) == [1, 2, 3]


@pytest.mark.parametrize("call", [
    lambda loop: loop.call_soon(),
    lambda loop: loop.call_soon(print, name=1),
    lambda loop: loop.call_soon(print, callback=1),
    lambda loop: loop.call_later(1),
    lambda loop: loop.call_later(None, print),
    lambda loop: loop.call_later("1", print),
    lambda loop: loop.call_at(None, print),
    lambda loop: loop.add_reader(0),
])
def test_bad_arguments_are_type_errors(loop, call):
    if sys.version_info < (3, 11) and not hasattr(loop, "ring"):
        pytest.skip("asyncio takes None for a time")
    with pytest.raises(TypeError):
        call(loop)


def test_callbacks_run_in_their_context(loop):
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    loop.call_soon(lambda: seen.append(variable.get()), context=context)
    variable.set("current")
    loop.call_soon(lambda: seen.append(variable.get()))
    loop.call_later(0, lambda: seen.append(variable.get()))
    loop.call_soon(variable.set, "lost")
    variable.set("later")
    run_soon(loop, 3)
    assert seen == ["given", "current", "current"] and variable.get() == "later"


def test_a_context_that_is_entered_already_is_an_error_of_the_callback(loop, caplog):
    context = contextvars.copy_context()
    called = []

    def nested():
        loop.call_soon(called.append, 1, context=context)
        loop._run_once()  # one iteration

    loop.call_soon(nested, context=context)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert "cannot enter context" in caplog.text and not called


def test_an_exception_goes_to_the_handler(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    def fail(text):
        raise ValueError(text)

    handle = loop.call_soon(fail, "reason")
    called = []
    loop.call_soon(called.append, 1)
    run_soon(loop)
    (context,) = contexts
    assert called == [1]
    assert str(context["exception"]) == "reason" and context["exception"].__traceback__
    assert context["handle"] is handle
    assert context["message"].startswith("Exception in callback ") and "fail" in context["message"]


def test_without_a_handler_an_exception_is_logged(loop, caplog):
    loop.call_soon(lambda: 1 / 0)
    run_soon(loop)
    (record,) = caplog.records
    assert "Exception in callback" in record.getMessage() and record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_some_exceptions_end_the_loop(loop, ending):
    called = []

    def end():
        raise ending

    loop.call_soon(end)
    loop.call_soon(called.append, 1)
    with pytest.raises(ending):
        loop.run_forever()
    assert not loop.is_running() and not called
    run_soon(loop)
    assert called == [1]


def test_threads_wake_a_loop_that_sleeps(loop):
    called = []

    def call():
        for i in range(100):
            done = threading.Event()
            loop.call_soon_threadsafe(lambda i=i: (called.append(i), done.set()))
            assert done.wait(GUARD)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=call)
    thread.start()
    loop.run_forever()
    thread.join()
    assert called == list(range(100))


# ---- timers ----


def test_timers_run_at_their_time_in_order(loop):
    called = []
    start = loop.time()
    delays = [0.03, 0.01, 0.02, 0, -1]
    for delay in delays:
        loop.call_later(delay, lambda delay=delay: called.append((delay, loop.time() - start)))
    loop.call_later(0.04, loop.stop)
    loop.run_forever()
    assert [delay for delay, _ in called] == sorted(delays)
    assert all(at >= delay - 1e-6 for delay, at in called)


def test_any_of_many_timers_may_be_cancelled(loop):
    chance = random.Random(1)
    called, base = [], loop.time() - 1000
    timers = {}
    for when in chance.sample(range(1000), 500):
        timers[when] = loop.call_at(base + when, called.append, when)
    for when in chance.sample(sorted(timers), 300):
        timers.pop(when).cancel()
    for when in chance.sample(range(1000, 2000), 50):
        loop.call_at(base + 10000 + when, called.append, when).cancel()
    run_soon(loop, 2)
    assert called == sorted(timers)


def test_a_timer_knows_its_time(loop):
    when = loop.time() + 1000
    timer = loop.call_at(when, print)
    assert timer.when() == when
    assert timer < loop.call_at(when + 1, print) and timer == timer
    later = loop.call_later(1000, print)
    assert 0 <= later.when() - when < 10
    assert timer in loop._scheduled and later in loop._scheduled
    later.cancel()
    assert timer in loop._scheduled


def test_strange_times_do_no_harm(loop):
    loop.call_at(float("inf"), print)
    called = []
    loop.call_at(float("nan"), called.append, 1)
    loop.call_at(-(10**30), called.append, 2)
    run_soon(loop, 3)
    assert 2 in called


def test_a_subclass_may_have_its_own_clock():
    class Loop(pollring.EventLoop):
        now = 0

        def time(self):
            return self.now

    loop = Loop()
    called = []
    loop.call_later(3600, called.append, 1)
    run_soon(loop)
    assert not called
    loop.now = 3600
    run_soon(loop)
    assert called == [1]
    loop.close()


# ---- debug mode ----


def test_debug_mode_tells_of_slow_callbacks(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    caplog.set_level(logging.WARNING, "asyncio")
    loop.call_soon(print, "slow")
    run_soon(loop)
    assert any("Executing <Handle" in record.getMessage() and " took 0." in record.getMessage()
               for record in caplog.records)


def test_debug_mode_tells_where_a_callback_was_made(loop):
    loop.set_debug(True)
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    handles = [loop.call_soon(lambda: 1 / 0), loop.call_later(0, lambda: 1 / 0), loop.call_at(0, lambda: 1 / 0)]
    for handle in handles:
        assert "test_loop.py:" in repr(handle).split("created at ")[1]
    run_soon(loop, 2)
    assert [context["source_traceback"][-1].name for context in contexts] == [
        "test_debug_mode_tells_where_a_callback_was_made"] * 3


def test_debug_mode_refuses_coroutines_and_other_threads(loop):
    loop.set_debug(True)

    async def coroutine():
        pass

    for call in (loop.call_soon, loop.call_soon_threadsafe, lambda function: loop.call_later(0, function)):
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            call(coroutine)
        with pytest.raises(TypeError, match="a callable object was expected"):
            call(1)
    loop.run_until_complete(in_thread_refused(loop))


async def in_thread_refused(loop):
    with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
        await loop.run_in_executor(None, loop.call_soon, print)
    await loop.shutdown_default_executor()


# ---- readers and writers ----


def test_a_reader_is_called_as_long_as_there_is_something(loop, pair):
    left, right = pair()
    left.send(b"abc")
    got = []

    def read():
        got.append(right.recv(1))
        if len(got) == 3:
            loop.stop()

    loop.add_reader(right, read)
    loop.run_forever()
    assert got == [b"a", b"b", b"c"]
    run_soon(loop, 3)
    assert len(got) == 3
    left.send(b"d")
    tell(loop, Watched(got, 4))
    assert got[3] == b"d"
    assert loop.remove_reader(right) is True and loop.remove_reader(right) is False


class Watched:
    """True once a list is so long."""

    def __init__(self, items, length):
        self.items, self.length = items, length

    def __bool__(self):
        return len(self.items) >= self.length


def test_a_reader_that_reads_nothing_is_called_again_and_again(loop, pair):
    left, right = pair()
    left.send(b"x")
    calls = []
    loop.add_reader(right, calls.append, 1)
    tell(loop, Watched(calls, 10))
    right.recv(1)
    calls.clear()
    run_soon(loop, 3)
    assert not calls
    loop.remove_reader(right)


def test_a_writer_is_called_while_there_is_room(loop, pair):
    left, right = pair()
    calls = []
    loop.add_writer(left, calls.append, 1)
    tell(loop, Watched(calls, 5))
    assert loop.remove_writer(left) is True and loop.remove_writer(left) is False
    calls.clear()
    run_soon(loop, 3)
    assert not calls
    try:
        while True:
            left.send(b"x" * 65536)
    except BlockingIOError:
        pass
    loop.add_writer(left, calls.append, 1)
    run_soon(loop, 3)
    assert not calls
    while readable(right):
        right.recv(65536)
    tell(loop, calls)
    loop.remove_writer(left)


def test_reader_and_writer_of_one_file_are_independent(loop, pair):
    left, right = pair()
    reads, writes = [], []
    loop.add_reader(left, lambda: reads.append(left.recv(10)))
    loop.add_writer(left, writes.append, 1)
    tell(loop, Watched(writes, 2))
    assert not reads
    right.send(b"x")
    tell(loop, reads)
    loop.remove_writer(left)
    writes.clear()
    right.send(b"y")
    tell(loop, Watched(reads, 2))
    assert reads == [b"x", b"y"] and not writes
    loop.add_writer(left, writes.append, 1)
    loop.remove_reader(left)
    right.send(b"z")
    tell(loop, writes)
    assert len(reads) == 2
    loop.remove_writer(left)


def test_a_second_reader_takes_the_place_of_the_first(loop, pair):
    left, right = pair()
    left.send(b"x")
    first, second = [], []
    loop.add_reader(right, first.append, 1)
    loop.add_reader(right, second.append, 1)
    tell(loop, second)
    assert not first
    loop.remove_reader(right)


def test_a_callback_may_remove_and_add_itself(loop, pair):
    left, right = pair()
    left.send(b"abc")
    got = []

    def read():
        loop.remove_reader(right)
        got.append(right.recv(1))
        loop.add_reader(right, read)

    loop.add_reader(right, read)
    tell(loop, Watched(got, 3))
    run_soon(loop, 3)
    assert got == [b"a", b"b", b"c"]
    loop.remove_reader(right)


def test_a_reader_that_another_callback_removes_is_not_called(loop, pair):
    pairs = [pair() for _ in range(2)]
    called = []

    def remove_all():
        called.append(1)
        for _, right in pairs:
            loop.remove_reader(right)

    for left, right in pairs:
        left.send(b"x")
        loop.add_reader(right, remove_all)
    tell(loop, called)
    run_soon(loop, 2)
    assert called == [1]


def test_hangup_calls_reader_and_writer(loop, pair, pipe):
    left, right = pair()
    got = []
    loop.add_reader(right, lambda: got.append(right.recv(1)))
    left.close()
    tell(loop, Watched(got, 3))
    assert set(got) == {b""}
    loop.remove_reader(right)
    read_end, write_end = pipe()
    broken = []
    os.set_blocking(write_end.fileno(), False)
    while write_end.write(b"x" * 65536):
        pass
    loop.add_writer(write_end, broken.append, 1)
    run_soon(loop, 2)
    assert not broken
    read_end.close()
    tell(loop, broken)
    loop.remove_writer(write_end)


def test_after_remove_reader_a_close_reaches_the_peer(loop, pair):
    left, right = pair()
    loop.add_reader(right, print)
    run_soon(loop, 2)
    loop.remove_reader(right)
    right.close()
    assert readable(left.fileno()) and left.recv(1) == b""


def test_a_number_that_was_closed_and_is_another_file_now(our_loop, pair):
    loop = our_loop
    left, right = pair()
    stale, fresh = [], []
    loop.add_reader(right, stale.append, 1)
    run_soon(loop, 2)
    number = right.fileno()
    new_left, new_right = pair()
    os.dup2(new_right.fileno(), number)  # closes the old file under its reader
    loop.add_reader(number, lambda: fresh.append(os.read(number, 1)))
    new_left.send(b"x")
    tell(loop, fresh)
    assert fresh == [b"x"] and not stale
    assert left.recv(1) == b""  # the old file was let go
    loop.remove_reader(number)


def test_a_file_that_was_closed_under_its_reader_is_silent(loop, pair):
    left, right = pair()
    left.send(b"x")
    called = []

    def close():
        called.append(right.recv(10))
        right.close()

    number = right.fileno()
    loop.add_reader(number, close)
    tell(loop, called)
    run_soon(loop, 3)
    assert called == [b"x"]
    assert readable(left.fileno()) and left.recv(1) == b""  # let go all the same
    assert loop.remove_reader(number) is True


def test_files_that_cannot_be_watched(loop, tmp_path):
    with open(tmp_path / "file", "w") as file, pytest.raises(PermissionError) as refused:
        loop.add_reader(file, print)
    assert refused.value.errno == errno.EPERM
    with open("/dev/null") as null, pytest.raises(PermissionError):
        loop.add_reader(null, print)
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.close(write_end)
    with pytest.raises(OSError) as bad:
        loop.add_reader(read_end, print)
    assert bad.value.errno == errno.EBADF
    with pytest.raises(OSError):
        loop.add_reader(10**9, print)  # no number that a file could have
    for wrong in (-1, 10**20):
        with pytest.raises((ValueError, OverflowError)):
            loop.add_reader(wrong, print)
    for wrong in ("file", None, 1.5, socket.socket):
        with pytest.raises(ValueError, match="Invalid file object"):
            loop.add_reader(wrong, print)
        with pytest.raises(ValueError, match="Invalid file object"):
            loop.remove_reader(wrong)
    assert loop.remove_reader(1000000) is False and loop.remove_writer(0) is False


def test_a_transports_file_is_the_transports(loop, pair):
    left, right = pair()

    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=left)
        for call in (lambda: loop.add_reader(left, print), lambda: loop.remove_writer(left)):
            with pytest.raises(RuntimeError, match="is used by transport"):
                call()
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_recv(left, 1)
        transport.close()

    loop.run_until_complete(main())
    run_soon(loop, 2)


def test_no_callback_is_called_for_nothing(loop, pair):
    chance = random.Random(2)
    pairs = [pair() for _ in range(30)]
    calls, spurious, left_over = 0, 0, 3000

    def read(right):
        nonlocal calls, spurious
        calls += 1
        try:
            data = right.recv(chance.choice([1, 2, 1000]))
            if chance.random() < 0.3:
                while data := right.recv(1000):
                    pass
        except BlockingIOError:
            spurious += "data" not in locals()
        write()

    def write():
        nonlocal left_over
        for left, _ in chance.sample(pairs, chance.choice([0, 1, 1, 2, 5])):
            left_over -= 1
            if left_over > 0:
                left.send(b"xy")

    def again():
        write()
        if left_over > 0:
            loop.call_later(chance.choice([0, 0, 0.0005]), again)
        else:
            loop.call_later(0.01, loop.stop)

    for _, right in pairs:
        loop.add_reader(right, read, right)
    loop.call_soon(again)
    loop.run_forever()
    for _, right in pairs:
        loop.remove_reader(right)
    assert calls > 1000 and spurious == 0
    assert not any(readable(right.fileno()) for _, right in pairs)


@pytest.mark.skipif("POLLRING_TEST_SIGNALS" in os.environ, reason="signals wake it")
def test_a_loop_that_waits_does_nothing(our_loop, pair):
    loop = our_loop
    for _ in range(50):
        loop.add_reader(pair()[0], print)
    run_soon(loop, 3)
    before = loop.ring.stats()["enters"]
    loop.call_later(0.2, loop.stop)
    loop.run_forever()
    assert loop.ring.stats()["enters"] - before < 20


# ---- sockets ----


def test_sock_recv_and_sendall(loop, pair):
    left, right = pair()

    async def main():
        assert await loop.sock_sendall(left, b"now") is None
        assert await loop.sock_recv(right, 2) == b"no"
        assert await loop.sock_recv(right, 10) == b"w"
        waiting = loop.create_task(loop.sock_recv(right, 100000))
        await asyncio.sleep(0)
        await loop.sock_sendall(left, bytearray(b"later"))
        assert await waiting == b"later"
        assert await loop.sock_sendall(left, b"") is None
        left.close()
        assert await loop.sock_recv(right, 10) == b""

    run(loop, main())


@pytest.mark.parametrize("chunk", [1000, 65536, 1 << 20])
def test_sock_sendall_waits_for_room(loop, pair, chunk):
    left, right = pair()
    data = random.Random(3).randbytes(3_000_000)

    async def main():
        sending = loop.create_task(loop.sock_sendall(left, memoryview(data)))
        received = bytearray()
        while len(received) < len(data):
            received += await loop.sock_recv(right, chunk)
        assert received == data
        await sending

    run(loop, main())


def test_sock_recv_into(loop, pair):
    left, right = pair()

    async def main():
        buffer = bytearray(10)
        waiting = loop.create_task(loop.sock_recv_into(right, memoryview(buffer)[2:]))
        await asyncio.sleep(0)
        left.send(b"abc")
        assert await waiting == 3 and buffer == b"\0\0abc\0\0\0\0\0"
        with pytest.raises((TypeError, BufferError)):
            await loop.sock_recv_into(right, b"read-only")

    run(loop, main())


def test_datagrams(loop, pair):
    if not hasattr(loop, "sock_sendto") or sys.version_info < (3, 11):
        pytest.skip("since Python 3.11")

    async def main():
        with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
            for end in (one, two):
                end.bind(("127.0.0.1", 0))
                end.setblocking(False)
            waiting = loop.create_task(loop.sock_recvfrom(two, 100))
            await asyncio.sleep(0)
            assert await loop.sock_sendto(one, b"hello", two.getsockname()) == 5
            assert await waiting == (b"hello", one.getsockname())
            buffer = bytearray(10)
            waiting = loop.create_task(loop.sock_recvfrom_into(two, buffer))
            await asyncio.sleep(0)
            await loop.sock_sendto(one, b"world", two.getsockname())
            assert await waiting == (5, one.getsockname()) and buffer[:5] == b"world"
            await loop.sock_sendto(one, b"again", two.getsockname())
            assert await loop.sock_recvfrom_into(two, buffer, 3) == (3, one.getsockname())

    run(loop, main())


def test_sock_accept_and_connect(loop, pair):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
            server.setblocking(False)
            client.setblocking(False)
            accepting = loop.create_task(loop.sock_accept(server))
            await asyncio.sleep(0)
            await loop.sock_connect(client, ("localhost", server.getsockname()[1]))
            connection, address = await accepting
            assert address == client.getsockname() and connection.gettimeout() == 0
            await loop.sock_sendall(client, b"hello")
            assert await loop.sock_recv(connection, 10) == b"hello"
            connection.close()

    run(loop, main())


def test_sock_connect_to_nobody(loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
                await loop.sock_connect(client, address)

    run(loop, main())


def test_errors_of_sockets_are_oserrors(loop, pair):
    left, right = pair()
    closed, _ = pair()
    closed.close()

    async def main():
        left.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await loop.sock_sendall(right, b"x")
        for operation in (loop.sock_recv(closed, 1), loop.sock_sendall(closed, b"x"), loop.sock_accept(closed)):
            with pytest.raises(OSError) as bad:
                await operation
            assert bad.value.errno == errno.EBADF
        with pytest.raises(ValueError, match="negative buffersize in recv"):
            await loop.sock_recv(right, -1)
        with pytest.raises(TypeError):
            await loop.sock_recv(right, "1")
        with pytest.raises(TypeError):
            await loop.sock_sendall(right, "text")
        with pytest.raises(TypeError):
            await loop.sock_recv(right)
        with pytest.raises(TypeError):
            await loop.sock_recv(right, 1, n=2)

    run(loop, main())


def test_keywords_and_other_sockets_are_taken(loop, pair):
    class Socket(socket.socket):
        received = 0

        def recv(self, *args):
            self.received += 1
            return super().recv(*args)

    left, right = pair()
    other = Socket(fileno=right.detach())

    async def main():
        await loop.sock_sendall(sock=left, data=b"abcd")
        assert await loop.sock_recv(other, n=2) == b"ab"
        assert await loop.sock_recv(other, 2) == b"cd"
        assert other.received == 2
        context = ssl.create_default_context()
        with socket.socket() as plain, context.wrap_socket(plain, server_hostname="localhost",
                                                           do_handshake_on_connect=False) as secure:
            with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
                await loop.sock_recv(secure, 1)

    run(loop, main())
    other.close()


def test_debug_mode_wants_non_blocking_sockets(loop, pair):
    left, _ = pair()
    left.setblocking(True)
    loop.set_debug(True)

    async def main():
        for operation in (loop.sock_recv(left, 1), loop.sock_sendall(left, b"x"), loop.sock_accept(left),
                          loop.sock_connect(left, "address")):
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await operation

    run(loop, main())


def test_cancelling_a_sock_recv_lets_the_socket_go(loop, pair):
    left, right = pair()

    async def main():
        waiting = loop.create_task(loop.sock_recv(right, 10))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0)
        right.close()
        assert readable(left.fileno())

    run(loop, main())


def test_a_sock_recv_that_is_cancelled_has_read_nothing(our_loop, pair):
    loop, (left, right) = our_loop, pair()

    async def main():
        waiting = loop.create_task(loop.sock_recv(right, 10))
        await asyncio.sleep(0.01)
        left.send(b"kept")
        await asyncio.sleep(0)  # the event is there
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await loop.sock_recv(right, 10) == b"kept"

    run(loop, main())


def test_two_tasks_may_read_from_one_socket(our_loop, pair):
    loop, (left, right) = our_loop, pair()

    async def main():
        tasks = [loop.create_task(loop.sock_recv(right, 1)) for _ in range(2)]
        await asyncio.sleep(0.01)
        left.send(b"a")
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        left.send(b"b")
        assert sorted(await asyncio.gather(*tasks)) == [b"a", b"b"]

    run(loop, main())


def test_a_socket_operation_is_a_coroutine(loop, pair):
    left, right = pair()
    operation = loop.sock_recv(right, 1)
    assert asyncio.iscoroutine(operation) and isinstance(operation, collections.abc.Coroutine)
    assert "sock_recv" in operation.__qualname__
    operation.close()
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        operation.send(None)
    operation = loop.sock_recv(right, 1)
    with pytest.raises(ZeroDivisionError):
        operation.throw(ZeroDivisionError())
    left.send(b"xy")
    operation = loop.sock_recv(right, 1)
    with pytest.raises(StopIteration) as stop:
        operation.send(None)
    assert stop.value.value == b"x"
    with pytest.warns(RuntimeWarning, match="coroutine '.*sock_recv' was never awaited"):
        loop.sock_recv(right, 1)
        gc.collect()


# ---- lifetimes ----


def test_a_task_that_waits_for_a_socket_stays(loop, pair):
    left, right = pair()
    got = []

    async def receive():
        got.append(await loop.sock_recv(right, 10))

    def start():
        loop.create_task(receive())  # nobody keeps it

    loop.call_soon(start)
    run_soon(loop, 3)
    gc.collect()
    left.send(b"x")
    tell(loop, got)
    assert got == [b"x"]


def test_a_loop_in_a_cycle_is_collected(make_loop, pair):
    left, right = pair()
    loop = make_loop() if make_loop.options is None else pollring.new_event_loop(**make_loop.options)
    if make_loop.options is None:
        pytest.skip("of pollring's loop alone")

    class Data:
        pass

    data = Data()
    data.loop = loop
    loop.call_soon(print, data)
    loop.call_later(1000, print, data)
    loop.add_reader(right, print, data)
    gone = [weakref.ref(loop), weakref.ref(data)]
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop, data
        gc.collect()
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    right.close()
    assert readable(left.fileno())


def test_handles_in_a_cycle_are_collected(loop):
    class Callback:
        def __call__(self):
            pass

    callback = Callback()
    callback.handle = loop.call_soon(callback)
    callback.timer = loop.call_later(0, callback)
    gone = weakref.ref(callback)
    del callback
    run_soon(loop, 2)
    gc.collect()
    assert gone() is None


def test_handles_withstand_being_written_into(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    for name, value in (("_args", [1]), ("_args", None), ("_context", None), ("_callback", 1), ("_loop", loop)):
        handle = loop.call_soon(print)
        setattr(handle, name, value)
        try:
            run_soon(loop)
        except (AttributeError, TypeError):
            pass
    handle = loop.call_soon(lambda: None)
    del handle._loop
    try:
        handle.cancel()
    except AttributeError:
        pass
    run_soon(loop)


def test_closing(loop, pair):
    left, right = pair()
    loop.add_reader(right, print)
    loop.call_later(1000, print)
    run_soon(loop)
    loop.call_soon(loop.close)
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    run_soon(loop)
    assert str(contexts[0]["exception"]) == "Cannot close a running event loop"
    loop.close()
    loop.close()
    assert loop.is_closed()
    right.close()
    assert readable(left.fileno())
    for call in (loop.call_soon, loop.call_soon_threadsafe, lambda f: loop.call_later(1, f),
                 lambda f: loop.call_at(1, f), lambda f: loop.add_reader(left, f), lambda f: loop.run_forever()):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call(print)


def test_closing_ends_the_ring(our_loop):
    ring = our_loop.ring
    assert not ring.closed and isinstance(ring, pollring.Ring)
    our_loop.close()
    assert ring.closed and our_loop.ring is None


def test_a_ring_that_is_closed_under_its_loop_is_an_error(one_loop, pair):
    left, right = pair()
    one_loop.add_reader(right, print)
    run_soon(one_loop)
    one_loop.ring.close()
    with pytest.raises(RuntimeError, match="the loop's ring is closed"):
        one_loop.run_forever()
    with pytest.raises(RuntimeError, match="the loop's ring is closed"):
        one_loop.add_reader(left, print)
    one_loop.remove_reader(right)
    one_loop.call_soon(print)


def test_a_loop_that_could_not_open_its_ring_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options in ({"entries": 0}, {"backend": "none"}, {"unknown": 1}):
            with pytest.raises((ValueError, TypeError)):
                pollring.EventLoop(**options)
        gc.collect()
    loop = pollring.EventLoop.__new__(pollring.EventLoop)
    for call in (lambda: loop.call_soon(print), lambda: loop.add_reader(0, print), loop._run_once, loop._detach):
        try:
            call()
        except (RuntimeError, AttributeError):
            pass


# ---- threads, forks, signals ----


def test_a_loop_may_be_made_here_run_there_and_closed_here(make_loop, pair):
    if make_loop.options and make_loop.options.get("pinned"):
        pytest.skip("a pinned ring stays with its thread")
    loop, (left, right) = make_loop(), pair()
    got = []
    loop.add_reader(right, lambda: got.append(right.recv(10)))
    left.send(b"1")
    tell(loop, got)
    left.send(b"2")
    stay = threading.Event()
    ran = threading.Event()

    def run_there():
        tell(loop, Watched(got, 2))
        ran.set()
        stay.wait()

    thread = threading.Thread(target=run_there)
    thread.start()
    ran.wait()
    assert got == [b"1", b"2"]
    left.send(b"3")
    tell(loop, Watched(got, 3))
    loop.remove_reader(right)
    loop.close()
    stay.set()
    thread.join()


def test_a_running_loop_is_not_for_other_threads(our_loop, pair):
    loop, (right, _) = our_loop, pair()

    async def main():
        for call in (loop.add_reader, loop.add_writer):
            with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
                await loop.run_in_executor(None, call, right, print)
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())


def in_child(function):
    """Runs a function in a forked child; its exit status."""
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.alarm(int(GUARD))
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_in_a_forked_child(our_loop, pair):
    loop, (left, right) = our_loop, pair()
    got = []
    loop.add_reader(right, lambda: got.append(right.recv(10)))
    run_soon(loop, 2)

    def child():
        with pytest.raises(RuntimeError, match="forked child"):
            run_soon(loop)
        assert pollring.run(asyncio.sleep(0, "own")) == "own"
        loop.close()

    assert in_child(child) == 0
    left.send(b"x")
    tell(loop, got)
    assert got == [b"x"]
    loop.remove_reader(right)


def test_signal_handlers(loop):
    got = []
    loop.add_signal_handler(signal.SIGUSR1, got.append, 1)
    loop.call_later(0.01, os.kill, os.getpid(), signal.SIGUSR1)
    tell(loop, got)
    os.kill(os.getpid(), signal.SIGUSR1)
    tell(loop, Watched(got, 2))
    assert loop.remove_signal_handler(signal.SIGUSR1) is True


def test_a_signals_own_handler_runs_while_the_loop_sleeps(loop):
    got = []
    before = signal.signal(signal.SIGUSR1, lambda *_: (got.append(1), loop.call_soon_threadsafe(loop.stop)))
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    loop.run_forever()
    timer.join()
    signal.signal(signal.SIGUSR1, before)
    assert got == [1]


def test_ctrl_c_ends_a_loop_that_sleeps(loop):
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    timer.join()
    assert not loop.is_running()


def test_ctrl_c_in_run():
    program = """if True:
        import asyncio, os, signal, pollring
        async def main():
            asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
            try:
                await asyncio.sleep(10)
            finally:
                print("cleaned up", flush=True)
        try:
            pollring.run(main())
        except KeyboardInterrupt:
            print("interrupted")
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=GUARD)
    assert done.stdout.split("\n")[:2] == ["cleaned up", "interrupted"], done.stderr


# ---- as asyncio's users see it ----


def test_run_and_the_policy(one_loop):
    async def main():
        return type(asyncio.get_running_loop()), asyncio.get_running_loop().get_debug()

    async def backend():
        return asyncio.get_running_loop().ring.backend

    assert pollring.run(backend(), debug=True, backend="epoll") == "epoll"
    assert pollring.run(main()) == (pollring.EventLoop, False)
    assert pollring.run(main(), debug=True) == (pollring.EventLoop, True)
    with pytest.raises((ValueError, TypeError)):
        pollring.run(print)

    async def nested():
        inner = main()
        try:
            pollring.run(inner)
        finally:
            inner.close()

    with pytest.raises(RuntimeError, match=r"^pollring\.run\(\) cannot be called from a running event loop"):
        pollring.run(nested())
    asyncio.set_event_loop_policy(pollring.EventLoopPolicy())
    try:
        assert asyncio.run(main()) == (pollring.EventLoop, False)
    finally:
        asyncio.set_event_loop_policy(None)
    assert isinstance(one_loop, asyncio.SelectorEventLoop)


def test_options_are_the_rings():
    with_options = pollring.new_event_loop(entries=8, cq_entries=32, backend="epoll")
    assert with_options.ring.backend == "epoll" and with_options.ring.stats()["cq_entries"] == 32
    with_options.close()


@pytest.mark.parametrize("name, call", [("new_event_loop", pollring.new_event_loop),
                                        ("run", lambda **options: pollring.run(None, **options)),
                                        ("RingSelector", pollring.RingSelector)])
def test_an_unknown_option_names_who_was_called(name, call):
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'colour'$"):
        call(entries=8, colour="red")


def test_tasks_streams_subprocesses_and_executors(loop):
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def client(address, number):
        reader, writer = await asyncio.open_connection(*address)
        for i in range(20):
            writer.write(b"line %d of %d\n" % (i, number))
            assert await reader.readline() == b"LINE %d OF %d\n" % (i, number)
        writer.close()
        await writer.wait_closed()

    async def main():
        assert asyncio.current_task() in asyncio.all_tasks()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        await asyncio.gather(*[client(server.sockets[0].getsockname(), i) for i in range(10)])
        server.close()
        await server.wait_closed()
        process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert (await process.communicate(b"x" * 300000))[0] == b"x" * 300000
        assert await loop.run_in_executor(None, time.sleep, 0.01) is None
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(10), 0.01)
        await loop.shutdown_default_executor()

    if sys.version_info < (3, 12):
        asyncio.get_child_watcher().attach_loop(loop)
    run(loop, main())


def test_the_loops_ring_is_for_polls_of_its_user_too(our_loop, pair):
    loop, (left, right) = our_loop, pair()
    got = []

    async def watch():
        async for events in loop.ring.poll_add(right, until_hangup=True):
            try:
                while data := right.recv(10):
                    got.append(data)
            except BlockingIOError:
                pass

    async def main():
        task = loop.create_task(watch())
        for i in range(5):
            await asyncio.sleep(0.002)
            left.send(b"%d" % i)
        await asyncio.sleep(0.002)
        left.close()
        await task

    run(loop, main())
    assert b"".join(got) == b"01234"


def test_a_subclass_may_have_its_own_iteration():
    class Loop(pollring.EventLoop):
        iterations = 0

        def _run_once(self):
            self.iterations += 1
            super()._run_once()

    loop = Loop()
    loop.run_until_complete(asyncio.sleep(0.001))
    assert loop.iterations > 1
    loop.close()


def test_asyncio_is_imported_on_demand():
    program = "import pollring, sys; assert 'asyncio' not in sys.modules; pollring.EventLoop; assert 'asyncio' in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=GUARD)
