#!/usr/bin/env python3
"""What asyncio's workloads cost on pollring's event loop, asyncio's own, and uvloop: `make bench`.

    asyncio_loops.py [-n ROUNDS] [WORKLOAD ...]
    asyncio_loops.py --idle

Every loop in turn does each workload within a round, in one process; the minimum of the rounds counts, in time of this
thread's processor: none of the workloads has to wait. uvloop comes from
PyPI into a virtual environment in build/, made where it isn't there; without a network the comparison with it is left
out. --idle measures what 10,000 idle connections take of memory and time, in a process for each loop.
"""

import argparse
import asyncio
import gc
import os
import platform
import resource
import socket
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UVLOOP = "uvloop==0.22.1" if sys.version_info >= (3, 10) else "uvloop"


def in_environment_with_uvloop():
    """Whether uvloop is there; starts over in an environment that has it where it isn't."""
    try:
        import uvloop  # noqa: F401

        return True
    except ImportError:
        pass
    directory = ROOT / "build" / f"bench-env-{platform.python_version()}"
    python = directory / "bin/python"
    if Path(sys.prefix) == directory:
        return False
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", directory], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", UVLOOP], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"left out: uvloop: {error}", file=sys.stderr)
        return False
    os.execv(python, [str(python), *sys.argv])


def loops():
    import pollring

    made = {"asyncio": asyncio.SelectorEventLoop, "pollring": pollring.new_event_loop}
    if in_environment_with_uvloop():
        import uvloop

        made["uvloop"] = uvloop.new_event_loop
    return made


# ---- workloads: each gives nanoseconds an operation ----


def nanoseconds(function, operations):
    started = time.thread_time_ns()
    function()
    return (time.thread_time_ns() - started) / operations


own_cost = defaultdict(lambda: float("inf"))


def add_reader(loop, count, ready, rounds):
    """count fds with a reader, ready of them readable in each round; what the callback itself does is taken off: its
    minimum of all rounds."""
    pairs = [socket.socketpair() for _ in range(count)]
    chosen = [pairs[i * count // ready] for i in range(ready)]
    for reader, writer in pairs:
        reader.setblocking(False)
    left = rounds_left = 0

    def on_readable(reader):
        nonlocal left
        reader.recv(16)
        left -= 1
        if not left:
            next_round()

    def next_round():
        nonlocal left, rounds_left
        left = ready
        rounds_left -= 1
        if rounds_left < 0:
            loop.stop()
            return
        for _, writer in chosen:
            writer.send(b"x")

    def without_loop():
        next_round()
        while rounds_left >= 0:
            for reader, _ in chosen:
                on_readable(reader)

    def with_loop():
        next_round()
        loop.run_forever()

    for reader, _ in pairs:
        loop.add_reader(reader, on_readable, reader)
    rounds_left = 3
    with_loop()
    rounds_left = rounds
    all_of_it = nanoseconds(with_loop, rounds * ready)
    for reader, _ in pairs:
        loop.remove_reader(reader)
    rounds_left = rounds
    own = own_cost[ready] = min(own_cost[ready], nanoseconds(without_loop, rounds * ready))
    for ends in pairs:
        for end in ends:
            end.close()
    return all_of_it - own


def ping_pong(loop, messages):
    """Two tasks that send a message to and fro with sock_recv and sock_sendall."""
    left, right = socket.socketpair()

    async def echo():
        while data := await loop.sock_recv(right, 1024):
            await loop.sock_sendall(right, data)

    async def play():
        for _ in range(messages // 2):
            await loop.sock_sendall(left, b"x" * 64)
            await loop.sock_recv(left, 1024)

    async def main():
        task = loop.create_task(echo())
        started = time.thread_time_ns()
        await play()
        elapsed = time.thread_time_ns() - started
        left.close()
        await task
        return elapsed / messages

    for end in (left, right):
        end.setblocking(False)
    try:
        return loop.run_until_complete(main())
    finally:
        right.close()


def call_soon_chain(loop, count):
    left = count

    def callback():
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(callback)
        else:
            loop.stop()

    loop.call_soon(callback)
    return nanoseconds(loop.run_forever, count)


def call_soon_batch(loop, count, batch):
    def nothing():
        pass

    def schedule():
        for _ in range(batch):
            loop.call_soon(nothing)

    def all_batches():
        for _ in range(count // batch):
            schedule()
            loop.call_soon(loop.stop)
            loop.run_forever()

    return nanoseconds(all_batches, count)


def sleeps(loop, tasks, each, delay):
    async def task():
        for _ in range(each):
            await asyncio.sleep(delay)

    async def main():
        await asyncio.gather(*[task() for _ in range(tasks)])

    return nanoseconds(lambda: loop.run_until_complete(main()), tasks * each)


async def echo_rounds(loop, port, state, clients, rounds):
    """The clients send at once, and the time is that until the server has answered all of them."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(clients)]
    message, total = b"x" * 1024, 0
    for round in range(rounds + 2):
        done = state["done"] = loop.create_future()
        state["left"] = clients
        for connection in connections:
            connection.sendall(message)
        started = time.thread_time_ns()
        await done
        if round >= 2:
            total += time.thread_time_ns() - started
        for connection in connections:
            received = 0
            while received < len(message):
                received += len(connection.recv(4096))
    for connection in connections:
        connection.close()
    return total / rounds / clients


def count_down(state):
    state["left"] -= 1
    if not state["left"]:
        state["done"].set_result(None)


def protocol_echo(loop, clients, rounds):
    state = {}

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)
            count_down(state)

    async def main():
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        try:
            return await echo_rounds(loop, server.sockets[0].getsockname()[1], state, clients, rounds)
        finally:
            server.close()
            await asyncio.sleep(0.05)

    return loop.run_until_complete(main())


def streams_echo(loop, clients, rounds):
    state = {}

    async def serve(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
            count_down(state)
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            return await echo_rounds(loop, server.sockets[0].getsockname()[1], state, clients, rounds)
        finally:
            server.close()
            await asyncio.sleep(0.05)

    return loop.run_until_complete(main())


# name: the workload, at most this share of uvloop's time, and of asyncio's
WORKLOADS = {
    "add_reader, 100 of 1000": (lambda loop: add_reader(loop, 1000, 100, 40), 0.65, None),
    "add_reader, 1 of 1": (lambda loop: add_reader(loop, 1, 1, 3000), 0.85, None),
    "sock_recv, sock_sendall": (lambda loop: ping_pong(loop, 6000), 0.4, None),
    "call_soon, chain": (lambda loop: call_soon_chain(loop, 30000), 0.3, None),
    "call_soon, batch": (lambda loop: call_soon_batch(loop, 40000, 1000), 0.7, None),
    "sleep(0), 1 task": (lambda loop: sleeps(loop, 1, 20000, 0), 0.45, None),
    "sleep(0), 100 tasks": (lambda loop: sleeps(loop, 100, 300, 0), 0.85, None),
    "sleep(10 us), 100 tasks": (lambda loop: sleeps(loop, 100, 200, 1e-5), 1.05, None),
    "Protocol echo, 50 of 1 KiB": (lambda loop: protocol_echo(loop, 50, 40), None, 1.0),
    "streams echo, 50 of 1 KiB": (lambda loop: streams_echo(loop, 50, 40), None, 1.0),
}


# ---- a process for each ----


def resident():
    """Kilobytes of this process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def measure_idle(name, kind, count):
    """Prints the memory of count idle connections in KiB, and the milliseconds of CPU of a second's sleep."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    count = min(count, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100) // 2)
    loop = loops()[name]()
    asyncio.set_event_loop(loop)
    pairs = [socket.socketpair() for _ in range(count)]
    gc.collect()
    before = resident()

    async def main():
        if kind == "Protocol":
            kept = [await loop.connect_accepted_socket(asyncio.Protocol, pair[0]) for pair in pairs]
        elif kind == "sock_recv":
            for pair in pairs:
                pair[0].setblocking(False)
            kept = [loop.create_task(loop.sock_recv(pair[0], 1024)) for pair in pairs]
        else:
            kept = [loop.add_reader(pair[0], print) for pair in pairs]
        await asyncio.sleep(0.2)
        after = resident()
        used = time.process_time()
        await asyncio.sleep(1)
        print(count, after - before, (time.process_time() - used) * 1000)
        return kept

    loop.run_until_complete(main())
    sys.stdout.flush()
    os._exit(0)


def print_idle(names, count):
    for kind in ("Protocol", "sock_recv", "add_reader"):
        for name in names:
            done = subprocess.run([sys.executable, __file__, "--idle-in", name, kind, str(count)], capture_output=True,
                                  text=True)
            if done.returncode:
                print(f"left out: {name}: {done.stderr.strip().splitlines()[-1:]}")
                continue
            connections, memory, cpu = map(float, done.stdout.split())
            print(f"{name:10}{kind:12}{connections:.0f} idle connections: {memory * 1024 / connections:5.0f} bytes each; "
                  f"{cpu:.1f} ms of CPU in a second's sleep")


# ---- all of it ----


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--rounds", type=int, default=7)
    parser.add_argument("--idle", action="store_true", help="memory and time of idle connections")
    parser.add_argument("--idle-in", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("workloads", nargs="*", help="parts of their names")
    arguments = parser.parse_args()
    if arguments.idle_in:
        return measure_idle(*arguments.idle_in[:2], int(arguments.idle_in[2]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    factories = loops()
    if arguments.idle:
        return print_idle(factories, 10000)
    wanted = {name: workload for name, workload in WORKLOADS.items()
              if not arguments.workloads or any(part in name for part in arguments.workloads)}
    best = {name: dict.fromkeys(factories, float("inf")) for name in wanted}
    for _ in range(arguments.rounds):
        for name, (workload, _, _) in wanted.items():
            for factory, make in factories.items():
                loop = make()
                asyncio.set_event_loop(loop)
                gc.collect()
                try:
                    best[name][factory] = min(best[name][factory], workload(loop))
                finally:
                    asyncio.set_event_loop(None)
                    loop.close()
    print(f"{platform.release()}, {os.cpu_count()} processors, Python {platform.python_version()}; nanoseconds an "
          f"operation, minimum of {arguments.rounds} rounds")
    print(f"{'':28}" + "".join(f"{name:>10}" for name in factories) + "   of asyncio's  of uvloop's")
    for name, figures in best.items():
        ours, stdlib, other = figures["pollring"], figures["asyncio"], figures.get("uvloop")
        _, most, most_of_stdlib = wanted[name]
        line = f"{name:28}" + "".join(f"{figure:10.0f}" for figure in figures.values()) + f"{ours / stdlib:15.2f}"
        line += f"{ours / other:13.2f}" if other else ""
        for share, limit in ((ours / other if other else None, most), (ours / stdlib, most_of_stdlib)):
            if limit and share is not None:
                line += f"  at most {limit}: {'yes' if share <= limit else 'NO'}"
        print(line)


if __name__ == "__main__":
    main()
