"""`async for`, and watch(): under asyncio (its own loop, uvloop, ours) and trio, by anyio where a test needs tasks."""

import asyncio
import errno
import gc
import os
import socket
import threading

import pytest

import pollring
from conftest import EPOLL, GUARD, readable
from pollring import POLLHUP, POLLIN, POLLOUT, POLLRDHUP

anyio = pytest.importorskip("anyio", reason="anyio is not installed")

RUNTIMES = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "pollring": ("asyncio", {"policy": pollring.EventLoopPolicy()}),
    "trio": ("trio", {}),
}


try:  # uvloop keeps some fds of its own from its first loop on
    import uvloop

    uvloop.new_event_loop().close()
except ImportError:
    pass


@pytest.fixture(params=RUNTIMES)
def run(request):
    """Runs an async function in an event loop, and not for ever."""
    if request.param != "asyncio":
        pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    backend, options = RUNTIMES[request.param]

    async def bounded(function):
        with anyio.fail_after(GUARD):
            await function()

    return lambda function: anyio.run(bounded, function, backend=backend, backend_options=options)


@pytest.fixture(params=["io_uring", "epoll", "tiny"])
def ring(request):
    options = {"io_uring": {}, "epoll": EPOLL, "tiny": {"entries": 2, "cq_entries": 4}}[request.param]
    with pollring.Ring(**options) as ring:
        yield ring


async def settled():
    """Until every other task waits; files that are ready already may have said so to nobody yet."""
    await anyio.wait_all_tasks_blocked()


async def until(condition):
    while not condition():
        await anyio.sleep(0)


def test_a_task_gets_each_event_as_it_comes_and_the_end(run, ring, pipe):
    r, w = pipe()

    async def main():
        seen = []

        async def read():
            async for events in ring.poll_add(r):
                seen.append((events, events.more, r.read(10)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            for number in range(3):
                await settled()
                assert len(seen) == number
                w.write(b"x")
                await until(lambda: len(seen) > number)
            w.close()
        assert seen == [(POLLIN, True, b"x")] * 3 + [(POLLHUP, False, b"")]

    run(main)
    assert ring.active == 0


def test_many_tasks_share_a_ring_and_each_gets_its_own(run, ring, pipe):
    pipes = [pipe() for _ in range(30)]
    seen = [[] for _ in pipes]

    async def main():
        async def read(number):
            r, _ = pipes[number]
            async for _ in ring.poll_add(r):
                while data := r.read(1):
                    seen[number].append(data)
                if len(seen[number]) >= 20:
                    return

        async with anyio.create_task_group() as tasks:
            for number in range(len(pipes)):
                tasks.start_soon(read, number)
            await settled()
            for turn in range(20):
                for number, (_, w) in enumerate(pipes):
                    w.write(bytes([turn]))
                if turn % 3 == 0:
                    await until(lambda: all(len(one) > turn for one in seen))

    run(main)
    assert seen == [[bytes([turn]) for turn in range(20)]] * len(pipes)


def test_a_cancelled_task_leaves_the_poll_armed_and_loses_nothing(run, ring, pair):
    near, far = pair()

    async def main():
        poll = ring.poll_add(near)
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext_of, poll)
                await settled()
                tasks.cancel_scope.cancel()
            assert poll.active
            far.send(b"x")  # nobody waits
            assert await poll.__anext__() == POLLIN
            near.recv(10)

    async def anext_of(poll):
        await poll.__anext__()

    run(main)


@pytest.mark.parametrize("inside", [True, False], ids=["in the task", "after it"])
def test_after_a_cancelled_watch_a_close_reaches_the_peer(run, pair, inside):
    here, peer = pair()
    kept = []

    async def main():
        scope = anyio.CancelScope()

        async def read():
            with scope:
                try:
                    async for _ in pollring.watch(here):
                        pass
                except anyio.get_cancelled_exc_class() as error:
                    kept.append(error)  # as a task of asyncio does, with the frames of its traceback
                    if inside:
                        here.close()
                        assert peer.recv(10) == b""
                    raise

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await settled()
            scope.cancel()
        here.close()
        assert peer.recv(10) == b""

    run(main)
    assert kept


def test_the_one_that_reads_for_all_may_be_cancelled(run, ring, pipe):
    pipes = [pipe() for _ in range(3)]
    woken = []

    async def main():
        async def wait_for(r, scope):
            with scope:
                async for events in ring.poll_add(r):
                    woken.append(events)
                    return

        scopes = [anyio.CancelScope() for _ in pipes]
        async with anyio.create_task_group() as tasks:
            for (r, _), scope in zip(pipes, scopes):
                tasks.start_soon(wait_for, r, scope)
                await settled()
            scopes[0].cancel()
            await settled()
            scopes[1].cancel()
            await settled()
            pipes[2][1].write(b"x")
        assert woken == [POLLIN]

    run(main)


def test_events_are_kept_for_a_task_that_is_away(run, ring, pipe):
    """And the loop doesn't spin on them meanwhile."""
    (r, w), (other, other_w) = pipe(), pipe()

    async def main():
        away, poll = ring.poll_add(r), ring.poll_add(other)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(poll.__anext__)
            await settled()
            for data in b"x", b"y":
                w.write(data)
                assert readable(ring.fileno())
                await until(lambda: not readable(ring.fileno()))
            assert [await away.__anext__(), await away.__anext__()] == [POLLIN] * 2
            other_w.write(b"x")

    run(main)


def test_two_tasks_on_one_poll_is_an_error(run, ring, pipe):
    r, w = pipe()

    async def main():
        poll = ring.poll_add(r)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(poll.__anext__)
            await settled()
            with pytest.raises(RuntimeError, match=f"fd {r.fileno()}: another task waits"):
                await poll.__anext__()
            w.write(b"x")

    run(main)


@pytest.mark.parametrize("wait", [lambda ring: ring.wait(0), lambda ring: next(ring.events())], ids=["wait", "events"])
def test_a_wait_that_would_take_the_tasks_events_is_refused(run, ring, pipe, wait):
    r, w = pipe()
    poll = ring.poll_add(r)

    async def main():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(poll.__anext__)
            await settled()
            w.write(b"x")
            with pytest.raises(RuntimeError, match="tasks iterate over polls of this ring"):
                wait(ring)  # and the task gets it, else this would not end

    assert ring.wait(0) == []
    run(main)
    w.write(b"x")
    assert ring.wait(10) == [(poll, POLLIN)]


def test_errors_are_raised_and_a_removal_just_ends_it(run, ring, pipe):
    r, w = pipe()

    async def main():
        with pytest.raises(OSError, match="fd 19999: bad file descriptor") as raised:
            async for _ in ring.poll_add(19999):
                pass
        assert raised.value.errno == errno.EBADF
        poll = ring.poll_add(r)
        async with anyio.create_task_group() as tasks:

            async def read():
                async for _ in poll:
                    raise AssertionError("nothing was written")

            tasks.start_soon(read)
            await settled()
            poll.remove()
        assert poll.end_reason == "removed"

    run(main)


def test_leaving_removes_the_poll(run, ring, pair):
    near, far = pair()

    async def main():
        far.send(b"x")
        async for _ in ring.poll_add(near):
            break
        assert ring.active == 0
        async with ring.poll_add(near) as poll:
            assert await poll.__anext__() == POLLIN
        assert ring.active == 0 and poll.end_reason == "removed"

    run(main)


def test_closing_the_ring_ends_the_iterations(run, ring, pipe):
    ends = []

    async def main():
        async def read(r):
            poll = ring.poll_add(r)
            async for _ in poll:
                pass
            ends.append(poll.end_reason)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(read, pipe()[0])
            await settled()
            ring.close()
        assert ends == ["closed"] * 3

    run(main)


def test_a_ring_goes_on_in_the_next_loop(run, ring, pipe):
    r, w = pipe()
    poll = ring.poll_add(r)

    async def main():
        w.write(b"x")
        assert await poll.__anext__() == POLLIN

    run(main)
    run(main)


def test_it_needs_a_running_loop(ring, pipe):
    poll = ring.poll_add(pipe()[0])
    with pytest.raises(RuntimeError, match="asyncio or trio"):
        poll.__anext__().send(None)


def test_another_thread_s_ring_is_refused(ring, pipe):
    ring.submit()
    poll, outcome = ring.poll_add(pipe()[0]), []

    async def main():
        with pytest.raises(RuntimeError, match="thread"):
            await poll.__anext__()
        outcome.append("refused")

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    thread.join()
    assert outcome == ["refused"]


# ---- watch() ----


def test_watch_in_a_task(run, pipe):
    r, w = pipe()
    seen = []

    async def main():
        async def read():
            async for events in pollring.watch(r):
                seen.append(events)
                r.read(10)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await settled()
            w.write(b"x")
            await until(lambda: seen)
            w.close()

    run(main)
    assert seen == [POLLIN, POLLHUP]


def test_watch_s_ring_is_shared_in_a_loop_and_closed_with_it(run, pipe):
    rings = []

    async def main():
        for _ in range(3):
            async with pollring.watch(pipe()[0]) as poll:
                rings.append(poll.ring)
                assert poll.active
            assert not poll.active

    run(main)
    assert len(set(map(id, rings))) == 1 and rings[0].closed
    run(main)
    assert rings[3] is not rings[0] and rings[3].closed


def test_watch_s_ring_of_a_loop_that_ended_badly_is_closed_by_the_next(pipe):
    async def ring():
        async with pollring.watch(pipe()[0]) as poll:
            return poll.ring

    loop = asyncio.new_event_loop()
    left = loop.run_until_complete(ring())
    loop.close()
    assert not left.closed
    asyncio.run(ring())
    assert left.closed


def test_watch_has_a_ring_for_each_thread(run, pipe):
    rings = []

    async def main():
        async with pollring.watch(pipe()[0]) as poll:
            rings.append(poll.ring)

    threads = [threading.Thread(target=run, args=(main,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, rings))) == 3


def test_watch_in_plain_code(pair):
    near, far = pair()
    far.send(b"x")
    for events in pollring.watch(near, POLLIN | POLLOUT):
        assert events & POLLIN
        break
    far.shutdown(socket.SHUT_WR)
    assert [(events, events.more) for events in pollring.watch(near)] == [(POLLIN | POLLRDHUP, False)]
    [events] = pollring.watch(near, POLLOUT, multishot=False)
    assert events & POLLOUT


def test_watch_passes_on_what_is_wrong():
    for fileobj in ("name", None):
        with pytest.raises(TypeError, match=f"fileobj must be an int .* not {type(fileobj).__name__}"):
            pollring.watch(fileobj)
    with pytest.raises(TypeError, match="events must be an int"):
        pollring.watch(0, None)
    with pytest.raises(TypeError, match="colour"):
        pollring.watch(0, colour="red")
    with pytest.raises(OSError, match="fd 19999"):
        list(pollring.watch(19999))


@pytest.mark.parametrize("use", [list, lambda watch: watch.__enter__()], ids=["for", "with"])
def test_plain_watch_in_a_task_is_refused(run, pipe, use):
    r, w = pipe()
    w.write(b"x")

    async def main():
        with pytest.raises(RuntimeError, match="in a task write `async for`"):
            use(pollring.watch(r, multishot=False))
        await anyio.to_thread.run_sync(lambda: list(pollring.watch(r, multishot=False)))  # where no loop runs

    run(main)


def test_with_watch_gives_the_poll(pipe):
    r, w = pipe()
    watch = pollring.watch(r)
    with watch as poll, watch as another:
        assert poll is not another
        w.write(b"x")
        assert next(poll) == next(another) == POLLIN
    assert poll.end_reason == another.end_reason == "closed" and poll.ring.closed
    with pytest.raises(OSError, match="fd 19999"), pollring.watch(19999) as poll:
        next(poll)


def test_watch_shows_its_file_and_mask(pair):
    here, _ = pair()
    assert repr(pollring.watch(3, POLLIN | POLLOUT)) == "<pollring.Watch fd=3 POLLIN|POLLOUT>"
    assert repr(pollring.watch(here)) == f"<pollring.Watch {here!r} POLLIN>"


def test_a_poll_in_a_cycle_with_its_task_is_collected(pipe):
    """Polls of tasks that nobody waits for are let go with them."""
    with pollring.Ring() as ring:
        async def main():
            async def read():
                async for _ in ring.poll_add(pipe()[0]):
                    pass

            task = asyncio.ensure_future(read())
            await asyncio.sleep(0)
            assert ring.active == 1
            task.cancel()
            await asyncio.wait([task])

        asyncio.run(main())
        gc.collect()
        assert ring.active == 0


def test_importing_pollring_imports_nothing_that_takes_its_time():
    code = "import sys, pollring; sys.exit(bool({'asyncio', 'trio', 'typing', 're', 'threading'} & set(sys.modules)))"
    assert os.spawnlp(os.P_WAIT, os.sys.executable, os.sys.executable, "-c", code) == 0
