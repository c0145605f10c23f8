"""Programs as they are written for asyncio, each a case: a coroutine function that raises where something is wrong.

Run by run.py, one process a case: cases.py NAME LOOP, with LOOP "pollring" or "asyncio"; servers' addresses are in the
environment.
"""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile

GUARD = 60  # seconds: only ends what hangs
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


# ---- HTTP ----


@case
async def aiohttp_server_and_client():
    """A server and 50 clients at once in one loop: small and large bodies, a stream, a websocket."""
    from aiohttp import ClientSession, web

    async def echo(request):
        return web.Response(body=await request.read())

    async def stream(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(50):
            await response.write(b"%d\n" % number)
            await asyncio.sleep(0)
        return response

    async def talk(request):
        talker = web.WebSocketResponse()
        await talker.prepare(request)
        async for message in talker:
            await talker.send_str(message.data.upper())
        return talker

    app = web.Application(client_max_size=1 << 24)
    app.add_routes([web.post("/echo", echo), web.get("/stream", stream), web.get("/talk", talk)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = "http://127.0.0.1:%d" % runner.addresses[0][1]

    async def client(session, number):
        body = bytes([number % 256]) * (1 << (number % 20))
        async with session.post(url + "/echo", data=body) as response:
            assert await response.read() == body
        async with session.get(url + "/stream") as response:
            assert (await response.text()).split() == [str(line) for line in range(50)]

    async with ClientSession() as session:
        await asyncio.gather(*(client(session, number) for number in range(50)))
        async with session.ws_connect(url + "/talk") as talker:
            for _ in range(100):
                await talker.send_str("hello")
                assert (await talker.receive()).data == "HELLO"
    await runner.cleanup()


async def serve_by_uvicorn(http):
    import uvicorn
    from aiohttp import ClientSession

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body[::-1]})

    server = uvicorn.Server(uvicorn.Config(app, http=http, port=0, log_level="warning", lifespan="off"))
    serving = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with ClientSession() as session:
        for size in (0, 1, 100000):
            body = os.urandom(size)
            async with session.post(f"http://127.0.0.1:{port}/", data=body) as response:
                assert await response.read() == body[::-1]
    server.should_exit = True
    await serving


@case
async def uvicorn_with_httptools():
    await serve_by_uvicorn("httptools")


@case
async def uvicorn_with_h11():
    await serve_by_uvicorn("h11")


@case
async def websockets_echo():
    import websockets

    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        async def client(number):
            async with websockets.connect(f"ws://127.0.0.1:{port}") as connection:
                for size in (1, 1000, 300000):
                    await connection.send(b"x" * size)
                    assert len(await connection.recv()) == size

        await asyncio.gather(*(client(number) for number in range(20)))


# ---- databases ----


@case
async def redis_commands_and_messages():
    import redis.asyncio

    client = redis.asyncio.Redis(port=int(os.environ["REDIS_PORT"]))
    async with client.pipeline() as pipeline:
        for number in range(1000):
            pipeline.set(f"key{number}", number)
        await pipeline.execute()
    values = await asyncio.gather(*(client.get(f"key{number}") for number in range(200)))
    assert values == [b"%d" % number for number in range(200)]
    async with client.pubsub() as listener:
        await listener.subscribe("news")
        assert (await listener.get_message(timeout=5))["type"] == "subscribe"
        assert await client.publish("news", "now") == 1
        assert (await listener.get_message(timeout=5))["data"] == b"now"
        assert await listener.get_message(timeout=0.05) is None
    await client.aclose()


@case
async def asyncpg_queries_and_notifications():
    import asyncpg

    address = {"host": "127.0.0.1", "port": int(os.environ["PG_PORT"]), "user": "postgres", "database": "postgres"}
    async with asyncpg.create_pool(min_size=5, max_size=5, **address) as pool:
        results = await asyncio.gather(*(pool.fetchval("SELECT $1::int * 2", number) for number in range(200)))
        assert results == [number * 2 for number in range(200)]
        async with pool.acquire() as connection:
            await connection.execute("CREATE TEMP TABLE t (n int, s text)")
            await connection.copy_records_to_table("t", records=[(n, "x" * 1000) for n in range(5000)])
            async with connection.transaction():
                total = 0
                async for record in connection.cursor("SELECT n FROM t"):
                    total += record["n"]
            assert total == sum(range(5000))
            heard = asyncio.get_running_loop().create_future()
            await connection.add_listener("news", lambda *what: heard.set_result(what[3]))
            await pool.execute("NOTIFY news, 'now'")
            assert await asyncio.wait_for(heard, 5) == "now"
        try:
            await asyncio.wait_for(pool.fetch("SELECT pg_sleep(30)"), 0.05)
        except asyncio.TimeoutError:
            pass
        assert await pool.fetchval("SELECT 1") == 1


# ---- what the stdlib has ----


@case
async def subprocesses():
    process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    data = os.urandom(1 << 20)
    assert await process.communicate(data) == (data, None) and process.returncode == 0
    many = [await asyncio.create_subprocess_shell(f"exit {number}") for number in range(20)]
    assert [await one.wait() for one in many] == list(range(20))
    slow = await asyncio.create_subprocess_exec("sleep", "60")
    slow.terminate()
    assert await slow.wait() == -signal.SIGTERM


@case
async def tls():
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/key.pem", f"{folder}/certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                       check=True, stderr=subprocess.DEVNULL)
        ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ours.load_cert_chain(certificate, key)
        theirs = ssl.create_default_context(cafile=certificate)

    async def echo(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=ours)
    port = server.sockets[0].getsockname()[1]

    async def client():
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=theirs, server_hostname="localhost")
        data = os.urandom(1 << 20)
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client() for _ in range(5)))
    server.close()
    await server.wait_closed()


@case
async def signals():
    loop, seen = asyncio.get_running_loop(), []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "usr1")
    for number in range(1, 21):
        os.kill(os.getpid(), signal.SIGUSR1)
        while len(seen) < number:
            await asyncio.sleep(0)
    assert loop.remove_signal_handler(signal.SIGUSR1)


@case
async def datagrams():
    loop, received = asyncio.get_running_loop(), asyncio.Queue()

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(data, address)

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data, address):
            received.put_nowait(data)

    server, _ = await loop.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
    client, _ = await loop.create_datagram_endpoint(Client, remote_addr=server.get_extra_info("sockname"))
    for number in range(200):
        client.sendto(b"%d" % number)
        assert await received.get() == b"%d" % number
    client.close()
    server.close()


@case
async def files_pipes_threads_and_names():
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, sum, range(1000)) == sum(range(1000))
    assert ("127.0.0.1", 80) in [one[4] for one in await loop.getaddrinfo("localhost", 80, family=socket.AF_INET)]
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 300000)
        file.seek(0)
        near, far = socket.socketpair()
        near.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=far)
        sending = asyncio.ensure_future(loop.sock_sendfile(near, file))
        assert len(await reader.readexactly(300000)) == 300000
        assert await sending == 300000
        near.close()
        writer.close()


def ctrl_c(run):
    """Not a coroutine: the main task is cancelled, and KeyboardInterrupt leaves run()."""
    cancelled = []

    async def main():
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(GUARD)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    try:
        run(main())
    except KeyboardInterrupt:
        assert cancelled or sys.version_info < (3, 11)  # before 3.11 it just leaves
        return
    raise AssertionError("no KeyboardInterrupt")


def main(name, loop):
    if loop == "pollring":
        from pollring import run
    else:
        run = asyncio.run
    if name == "ctrl_c":
        ctrl_c(run)
        return

    async def bounded():
        assert type(asyncio.get_running_loop()).__module__.startswith("asyncio" if loop == "asyncio" else "pollring")
        await asyncio.wait_for(CASES[name](), GUARD)

    run(bounded())


if __name__ == "__main__":
    main(*sys.argv[1:])
