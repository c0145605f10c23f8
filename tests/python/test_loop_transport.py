"""Transports of connections on the event loop. All of it is what asyncio promises, so it is tested on asyncio's own loop
too, where a test that fails is wrong."""

import array
import asyncio
import contextlib
import errno
import gc
import logging
import os
import random
import socket
import struct
import subprocess
import sys
import traceback
import weakref

import pytest
from conftest import GUARD, run


class Recorder(asyncio.Protocol):
    """Notes what it is told, as (what, with what)."""

    def __init__(self, keep_open=False):
        self.told, self.keep_open = [], keep_open

    def connection_made(self, transport):
        self.transport = transport
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        assert type(data) is bytes
        self.told.append(("data", data))

    def eof_received(self):
        self.told.append(("eof", None))
        return self.keep_open

    def pause_writing(self):
        self.told.append(("pause", None))

    def resume_writing(self):
        self.told.append(("resume", None))

    def connection_lost(self, exception):
        self.told.append(("lost", exception))
        if not self.lost.done():
            self.lost.set_result(exception)

    def received(self):
        return b"".join(data for what, data in self.told if what == "data")

    async def until(self, condition):
        while not condition():
            await asyncio.sleep(0.001)


def failing_with(exception):
    class Failing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise exception

    return Failing()


@contextlib.asynccontextmanager
async def connected(protocol, type_of_socket=socket.socket):
    """The socket of a transport with such a protocol, and its peer's. (TCP, non-blocking)"""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server, type_of_socket() as sock:
        sock.connect(server.getsockname())
        peer, _ = server.accept()
        with peer:
            peer.setblocking(False)
            await loop.create_connection(lambda: protocol, sock=sock)
            yield sock, peer
            protocol.transport.abort()
            await protocol.lost


def receive_what_is_there(peer):
    """At once; there is room for more then, of which the loop hasn't heard."""
    received = b""
    with contextlib.suppress(BlockingIOError):
        while len(received) < 1_000_000:
            received += peer.recv(1 << 20)
    return received


async def receive_all(peer, size, received=b""):
    while len(received) < size:
        received += await asyncio.get_running_loop().sock_recv(peer, 1 << 20)
    return received


def reset(peer):
    """Closes a connection so that the other end sees an error."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


# ---- writing and reading ----


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, type("Bytes", (bytes,), {})])
def test_what_is_written_arrives_in_order(loop, pair, kind):
    left, right = pair()
    parts = [random.Random(size).randbytes(size) for size in (0, 1, 0, 1000, 65536, 65537, 1_000_000, 1, 700_000, 10)]
    sender, receiver = Recorder(), Recorder()

    async def main():
        for protocol, sock in ((sender, left), (receiver, right)):
            await loop.create_connection(lambda protocol=protocol: protocol, sock=sock)
        for part in parts:
            assert sender.transport.write(kind(part)) is None
        sender.transport.close()
        assert await receiver.lost is None and await sender.lost is None

    run(loop, main())
    assert receiver.received() == b"".join(parts)
    assert [what for what, _ in receiver.told if what != "data"] == ["eof", "lost"]


def test_an_echo_of_many_messages(loop, pair):
    left, right = pair()
    chance = random.Random(1)
    message = chance.randbytes(400_000)

    class Echo(Recorder):
        def data_received(self, data):
            self.transport.write(data)

    echo, client = Echo(), Recorder()

    async def main():
        await loop.create_connection(lambda: echo, sock=right)
        await loop.create_connection(lambda: client, sock=left)
        at = 0
        while at < len(message):
            size = chance.choice([1, 10, 1000, 10_000, 100_000])
            client.transport.write(message[at:at + size])
            at += size
            await asyncio.sleep(0)
        await client.until(lambda: len(client.received()) == len(message))
        client.transport.close()
        assert await echo.lost is None and await client.lost is None

    run(loop, main())
    assert client.received() == message


def test_a_writer_is_told_when_to_pause(loop):
    recorder, data = Recorder(), os.urandom(8_000_000)

    async def main():
        async with connected(recorder) as (_, peer):
            recorder.transport.write(b"first")
            assert recorder.transport.get_write_buffer_size() == 0
            recorder.transport.write(data)
            left = recorder.transport.get_write_buffer_size()
            assert 0 < left < len(data) and recorder.told == [("pause", None)]
            received = receive_what_is_there(peer)
            recorder.transport.write(b"last")
            assert recorder.transport.get_write_buffer_size() == left + 4
            assert await receive_all(peer, len(data) + 9, received) == b"first" + data + b"last"
            await recorder.until(lambda: recorder.told[1:] == [("resume", None)])
            assert recorder.transport.get_write_buffer_size() == 0
            recorder.transport.write(b"more")
            assert await receive_all(peer, 4) == b"more"

    run(loop, main())


def test_what_is_left_of_a_bytearray_is_kept(loop):
    data = bytearray(os.urandom(8_000_000))
    expected = bytes(data)

    async def main():
        async with connected(recorder := Recorder()) as (_, peer):
            recorder.transport.write(data)
            recorder.transport.writelines([b"and ", b"more"])
            assert await receive_all(peer, len(data) + 8) == expected + b"and more"

    run(loop, main())


def test_data_and_its_end_that_come_at_once(loop):
    async def main():
        async with connected(recorder := Recorder(keep_open=True)) as (_, peer):
            recorder.transport.pause_reading()
            peer.send(b"last words")
            peer.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.01)
            assert recorder.told == []
            recorder.transport.resume_reading()
            await recorder.until(lambda: recorder.told == [("data", b"last words"), ("eof", None)])
            recorder.transport.write(b"answer")
            assert await receive_all(peer, 6) == b"answer"
            recorder.transport.write_eof()
            await asyncio.sleep(0)
            assert await loop.sock_recv(peer, 1) == b""

    run(loop, main())


def test_a_call_for_nothing_is_no_error(loop, pair, caplog):
    """Somebody else has read what there was to read."""
    left, right = pair()
    stolen = []

    def steal(duplicate):
        with contextlib.suppress(BlockingIOError):
            stolen.append(duplicate.recv(100))

    async def main():
        with right.dup() as before, right.dup() as after:
            loop.add_reader(before, steal, before)
            _, recorder = await loop.create_connection(Recorder, sock=right)
            await asyncio.sleep(0)
            loop.add_reader(after, steal, after)  # whichever the order is, one of them is called before
            for i in range(20):
                left.send(b"%d " % i)
                await asyncio.sleep(0.001)
            for duplicate in (before, after):
                loop.remove_reader(duplicate)
        assert stolen and not recorder.transport.is_closing()
        left.send(b"last")
        await recorder.until(lambda: recorder.received().endswith(b"last"))
        recorder.transport.close()
        await recorder.lost

    run(loop, main())
    assert not caplog.records


def test_an_end_closes_a_transport(loop):
    async def main():
        async with connected(recorder := Recorder()) as (_, peer):
            peer.close()
            assert await recorder.lost is None
            assert recorder.told == [("eof", None), ("lost", None)] and recorder.transport.is_closing()
            recorder.transport.write(b"to nobody")

    run(loop, main())


# ---- what a protocol does while it is called ----


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_protocol_that_ends_its_connection_hears_no_more(loop, end):
    class Ending(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(b"bye")
            getattr(self.transport, end)()

    async def main():
        async with connected(recorder := Ending()) as (_, peer):
            peer.send(b"1")
            assert await receive_all(peer, 3) == b"bye"
            with contextlib.suppress(ConnectionError):
                peer.send(b"2")
            assert await recorder.lost is None
            await asyncio.sleep(0.01)
            assert recorder.told == [("data", b"1"), ("lost", None)]

    run(loop, main())


def test_a_protocol_that_pauses_hears_no_more_until_it_resumes(loop):
    class Pausing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async def main():
        async with connected(recorder := Pausing()) as (_, peer):
            for i in range(3):
                peer.send(b"%d" % i)
                await recorder.until(lambda: len(recorder.told) == i + 1)
                peer.send(b"more")
                await asyncio.sleep(0.005)
                assert len(recorder.told) == i + 1 and not recorder.transport.is_reading()
                recorder.transport.resume_reading()
                await recorder.until(lambda: len(recorder.told) == i + 2)
                recorder.told.pop()
                recorder.transport.resume_reading()
            assert recorder.received() == b"012"

    run(loop, main())


def test_a_protocol_may_be_exchanged_while_it_is_called(loop):
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self):
            self.buffer, self.received = bytearray(3), b""

        def get_buffer(self, size_hint):
            return self.buffer

        def buffer_updated(self, count):
            self.received += self.buffer[:count]
            if self.received == b"345":
                third.transport = second.transport
                second.transport.set_protocol(third)

        def connection_lost(self, exception):
            raise AssertionError

    class Passing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.set_protocol(buffered)

    buffered, second, third = Buffered(), Passing(), Recorder()

    async def main():
        async with connected(second) as (_, peer):
            third.lost = second.lost
            peer.send(b"12")
            await second.until(lambda: second.told)
            peer.send(b"345678")
            await second.until(lambda: third.told)
            assert second.transport.get_protocol() is third

    run(loop, main())
    assert (second.received(), buffered.received, third.received()) == (b"12", b"345", b"678")


@pytest.mark.parametrize("exception", [ValueError("reason"), asyncio.CancelledError(), OSError(errno.EIO, "reason")])
def test_an_exception_of_a_protocol_is_told_and_ends_its_connection(loop, exception):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    async def main():
        async with connected(recorder := failing_with(exception)) as (_, peer):
            peer.send(b"1")
            assert await recorder.lost is exception
            assert recorder.told == [("data", b"1"), ("lost", exception)]
            assert await loop.sock_recv(peer, 1) == b""
        if isinstance(exception, OSError):
            assert contexts == []
        else:
            assert contexts == [{"message": "Fatal error: protocol.data_received() call failed.",
                                 "exception": exception, "transport": recorder.transport, "protocol": recorder}]
            *_, last = traceback.extract_tb(exception.__traceback__)
            assert last.name == "data_received"

    run(loop, main())


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_some_exceptions_of_a_protocol_end_the_loop(loop, pair, ending):
    left, right = pair()
    recorder = failing_with(ending)

    async def main():
        await loop.create_connection(lambda: recorder, sock=right)
        left.send(b"1")
        await recorder.lost

    task = loop.create_task(main())
    with pytest.raises(ending):
        loop.run_until_complete(task)
    assert recorder.told == [("data", b"1")]
    recorder.transport.close()
    loop.run_until_complete(task)
    assert recorder.told == [("data", b"1"), ("lost", None)]


# ---- errors ----


def test_bad_arguments_of_write(loop):
    async def main():
        async with connected(recorder := Recorder()) as (_, peer):
            write = recorder.transport.write
            for wrong in ("text", None, 1, [b"x"], array.array("b", [1])):
                with pytest.raises(TypeError, match="data argument must be a bytes-like object, not"):
                    write(wrong)
            for call in (lambda: write(), lambda: write(b"x", b"y"), lambda: write(datum=b"x")):
                with pytest.raises(TypeError, match=r"write\(\)"):
                    call()
            write(data=b"by name")
            assert await receive_all(peer, 7) == b"by name"
            recorder.transport.write_eof()
            with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
                write(b"x")
            with pytest.raises(TypeError, match="bytes-like"):
                write("text")

    run(loop, main())


def test_no_write_while_a_file_is_sent(loop, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 8_000_000)

    async def main():
        async with connected(recorder := Recorder()) as (_, peer):
            with open(tmp_path / "file", "rb") as file:
                sending = loop.create_task(loop.sendfile(recorder.transport, file))
                await asyncio.sleep(0.01)
                received = receive_what_is_there(peer)
                with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
                    recorder.transport.write(b"x")
                assert len(await receive_all(peer, 8_000_000, received)) == 8_000_000
                assert await sending == 8_000_000
            recorder.transport.write(b"after")
            assert await receive_all(peer, 5) == b"after"

    run(loop, main())


def test_a_read_error_ends_a_connection(loop, caplog):
    async def main():
        async with connected(recorder := Recorder()) as (_, peer):
            reset(peer)
            assert isinstance(await recorder.lost, ConnectionResetError)
            assert [what for what, _ in recorder.told] == ["lost"]

    run(loop, main())
    assert not caplog.records


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_the_first_write_after_a_reset_tells_of_it(loop, caplog, size):
    """A second one would say EPIPE."""
    loop.set_debug(True)
    caplog.set_level(logging.DEBUG)

    async def main():
        async with connected(recorder := Recorder()) as (_, peer):
            recorder.transport.pause_reading()
            reset(peer)
            await asyncio.sleep(0.01)
            try:
                raise LookupError
            except LookupError as outer:
                assert recorder.transport.write(b"x" * size) is None
                assert sys.exc_info()[1] is outer
            assert recorder.transport.is_closing()
            exception = await recorder.lost
            assert type(exception) is ConnectionResetError and exception.errno == errno.ECONNRESET
            told = [record for record in caplog.records if "Fatal write error" in record.getMessage()]
            assert [record.exc_info[1] for record in told] == [exception]

    run(loop, main())


def test_writing_to_a_lost_connection_is_warned_of_at_last(loop, caplog):
    async def main():
        async with connected(recorder := Recorder()) as _:
            recorder.transport.abort()
            for _ in range(6):
                recorder.transport.write(b"x")
            assert await recorder.lost is None
            recorder.transport.write(b"x")

    run(loop, main())
    assert {record.getMessage() for record in caplog.records} == {"socket.send() raised exception."}


def test_a_socket_that_was_closed_under_its_transport(loop, pair):
    """Its number may be another file's by now."""

    async def main():
        async with connected(recorder := Recorder()) as (sock, _):
            number = sock.fileno()
            sock.close()
            left, right = pair()
            assert number in (left.fileno(), right.fileno())
            recorder.transport.write(b"secret")
            exception = await recorder.lost
            assert isinstance(exception, OSError) and exception.errno == errno.EBADF
            for end in (left, right):
                with pytest.raises(BlockingIOError):
                    end.recv(10)

    run(loop, main())


# ---- classes, lifetimes, processes ----


def test_a_socket_of_a_class_of_its_own_is_asked(loop):
    called = []

    class Socket(socket.socket):
        def send(self, data, *flags):
            called.append("send")
            return super().send(data, *flags)

        def recv(self, size, *flags):
            called.append("recv")
            return super().recv(size, *flags)

    async def main():
        async with connected(recorder := Recorder(), Socket) as (_, peer):
            recorder.transport.write(b"x")
            assert await receive_all(peer, 1) == b"x"
            peer.send(b"y")
            await recorder.until(recorder.received)
            assert called == ["send", "recv"]

    run(loop, main())


def test_a_method_of_a_derived_transport_is_called(loop, pair):
    left, right = pair()

    async def main():
        transport, _ = await loop.create_connection(Recorder, sock=left)
        written = []

        class Derived(type(transport)):
            def write(self, data):
                written.append(data)
                super().write(data.upper())

        loop._make_socket_transport, made = lambda *args, **options: Derived(loop, *args), loop._make_socket_transport
        derived, _ = await loop.create_connection(Recorder, sock=right)
        loop._make_socket_transport = made
        derived.write(b"text")
        recorder = transport.get_protocol()
        await recorder.until(lambda: recorder.received() == b"TEXT")
        assert written == [b"text"]
        for each in (transport, derived):
            each.close()
            await each.get_protocol().lost

    run(loop, main())


def test_a_transport_that_nobody_has_is_collected(loop, pair):
    left, right = pair()

    async def main():
        transport, protocol = await loop.create_connection(Recorder, sock=right)
        transport.pause_reading()
        left.send(b"x")
        return weakref.ref(transport), weakref.ref(protocol)

    gone = run(loop, main())
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        gc.collect()
    assert [reference() for reference in gone] == [None, None] and right.fileno() == -1


def test_a_forked_child_may_write(loop, pair):
    left, right = pair()

    async def main():
        transport, protocol = await loop.create_connection(Recorder, sock=right)
        child = os.fork()
        if not child:
            transport.write(b"from the child")
            os._exit(0)
        os.waitpid(child, 0)
        assert left.recv(100) == b"from the child"
        left.send(b"to the parent")
        await protocol.until(lambda: protocol.received() == b"to the parent")
        transport.close()
        await protocol.lost

    run(loop, main())


def test_another_socket_class_in_the_place_of_the_stdlibs():
    program = """if True:
        import asyncio, socket
        class Other(socket.socket):
            def fileno(self):
                return super().fileno()
        left, right = socket.socketpair()
        socket.socket = Other
        import pollring
        async def main():
            reader, writer = await asyncio.open_connection(sock=Other(fileno=right.detach()))
            left.send(b"to")
            assert await reader.read(10) == b"to"
            writer.write(b"from")
            assert left.recv(10) == b"from"
            loop = asyncio.get_running_loop()
            left.setblocking(False)
            writer.write(b"more")
            assert await loop.sock_recv(left, 10) == b"more"
            writer.close()
        pollring.run(main())
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=GUARD)
