"""The examples: each is run in each language with real input, and what it prints is checked; Ctrl-C ends those that go on.

A program in examples/ that has no check here fails. Those of hosts in C are run by tests/lua/host_c_spec.lua.
"""

import http.server
import importlib.util
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build"
SECONDS = 30  # for anything
NEEDS = {"zmq_fd": ("zmq", "python3-zmq", "libzmq3-dev"),  # Python's module and its package, the package for C
         "multi_socket": ("pycurl", "python3-pycurl", "libcurl4-openssl-dev"),
         "async_query": ("psycopg2", "python3-psycopg2", "libpq-dev")}
PROGRAMS = sorted((file.parent.name, file.stem) for file in ROOT.glob("examples/*/*.*")
                  if file.suffix != ".md" and not file.stem.startswith("host_"))
ENVIRONMENT = {**os.environ, "PYTHONUNBUFFERED": "", "PYTHONPATH": str(BUILD / "python"),
               "LUA_CPATH_5_4": f"{BUILD}/lua/?.so;;"}


def argv(language, name):
    if language == "lua":
        return [os.environ.get("LUA", "lua5.4"), ROOT / f"examples/lua/{name}.lua"]
    module, python_package, c_package = NEEDS.get(name, ("sys", "", ""))
    if language == "python":
        if not importlib.util.find_spec(module):
            pytest.skip(f"{python_package} is not installed")
        return [sys.executable, ROOT / f"examples/python/{name}.py"]
    program = BUILD / "examples" / name
    if c_package and not program.exists():
        pytest.skip(f"{c_package} was not installed when {program.relative_to(ROOT)} was to be built")
    return [program]


class Program:
    """A running example: what it writes, stderr too, is read as it comes."""

    def __init__(self, language, name, *arguments):
        self.language, self.text = language, ""
        self.process = subprocess.Popen(
            [*map(str, argv(language, name)), *map(str, arguments)], bufsize=0, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # ignored where this runs in the background

    def write(self, text):
        self.process.stdin.write(text.encode())

    def read(self, deadline):
        """More of what it writes; False at the end."""
        ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"it takes too long, after {self.text!r}"
        part = self.process.stdout.read(65536)
        self.text += part.decode(errors="replace")
        return bool(part)

    def wait_for(self, pattern):
        """Until it has written that: the match."""
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(pattern, self.text)):
            assert self.read(deadline), f"it ended without {pattern!r}: {self.text!r}"
        return found

    def finish(self):
        """Until it ends: its status, and all that it wrote."""
        self.process.stdin.close()
        deadline = time.monotonic() + SECONDS
        while self.read(deadline):
            pass
        return self.process.wait(SECONDS), self.text

    def interrupt(self):
        """As Ctrl-C does, which reaches its children too. The program lua tells it with a traceback, and exits with 1."""
        os.killpg(self.process.pid, signal.SIGINT)
        status, text = self.finish()
        if self.language == "lua":
            assert status == 1 and re.search(r"interrupted!\nstack traceback:\n(\t.*\n)+$", text), text
        else:
            assert status in (128 + signal.SIGINT, -signal.SIGINT) and "raceback" not in text, text

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(SECONDS)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start():
    """Starts an example, which is killed at the end with what it has started."""
    started = []

    def start(*arguments):
        started.append(Program(*arguments))
        return started[-1]

    yield start
    for program in started:
        program.kill()


@pytest.fixture
def fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.fixture
def web_server():
    """Its address. /big is more than a socket holds, /small is not; else 404."""
    bodies = {"/big": b"x" * 3_000_000, "/small": b"hello"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = bodies.get(self.path, b"nothing")
            self.send_response(200 if self.path in bodies else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def postgresql():
    """How to connect to a server of its own, which listens on a unix socket only."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("postgresql is not installed")
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}  # root is refused
    with tempfile.TemporaryDirectory() as folder:
        if user:
            shutil.chown(folder, "postgres", "postgres")
        options = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **user}
        subprocess.run([programs[-1], "--no-sync", "-A", "trust", "-U", "postgres", "-D", f"{folder}/data"], check=True,
                       timeout=SECONDS, **options)
        server = subprocess.Popen([programs[-1].with_name("postgres"), "-D", f"{folder}/data", "-h", "", "-k", folder, "-F"],
                                  **options)
        try:
            deadline = time.monotonic() + SECONDS
            while subprocess.run([programs[-1].with_name("pg_isready"), "-q", "-h", folder]).returncode:
                assert server.poll() is None and time.monotonic() < deadline, "PostgreSQL does not start"
                time.sleep(0.05)
            yield f"host={folder} user=postgres dbname=postgres"
        finally:
            server.send_signal(signal.SIGQUIT)  # at once
            server.wait(SECONDS)


# ---- what each has to do: check_NAME(run, request), where run starts it with arguments ----


def check_tail_pipe(run, _):
    program = run()
    program.write("one\ntw")
    program.wait_for(r"^ +\d+\.\d{3}  one\n")  # while the pipe is open
    program.write("o\nthree")
    status, text = program.finish()
    assert status == 0 and re.fullmatch(r"(?: +\d+\.\d{3}  (?:one|two|three)\n?){3}", text), text


def check_echo_server(run, _):
    program = run()
    address = "127.0.0.1", int(program.wait_for(r"listening on port (\d+)\n")[1])
    text = b"hello, world\n" * 100_000 + b"the end"  # more than the socket holds
    with socket.create_connection(address, timeout=SECONDS) as one, socket.create_connection(address, SECONDS) as other:
        def send():
            one.sendall(text)
            one.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        other.sendall(b"me too\n")
        assert other.recv(64) == b"me too\n"  # while the first goes on
        with one.makefile("rb") as file:
            assert file.read() == text
        sender.join()
        program.interrupt()


def check_many_fds(run, _):
    status, text = run(200).finish()
    assert status == 0 and re.match(r"(\d+) events of 200 sockets in \d+ batches, with \d+ system calls\n", text), text
    assert int(text.split()[0]) >= 200  # a tenth of them at a time, each at least once


def check_hangup(run, request):
    fifo = request.getfixturevalue("fifo")
    program = run(fifo, 2)
    for word in "hello", "again":
        fifo.write_text(f"{word}\n")  # opened when the program reads, and closed
        program.wait_for(f"{word}\n-- the last writer has gone\n")
    status, text = program.finish()
    assert (status, text.count("gone")) == (0, 2)


def check_update_and_cancel(run, _):
    status, text = run(1_000_000).finish()
    assert status == 0 and re.search(r"^1000000 bytes", text, re.MULTILINE), text
    assert re.search("removed.*(ECANCELED|Operation canceled)", text, re.DOTALL)
    assert re.search("armed again: (POLLIN, .*answer|6 bytes)", text), text


def check_subprocess_progress(run, request):
    script = "echo 10%; echo 60%; exit 3"
    status, text = run(*([script] if request.node.callspec.params["language"] == "lua" else ["sh", "-c", script])).finish()
    assert status == 3 and "2 lines: 60%" in text, text


def check_prefork_accept(run, request):
    kinds = [["--threads"], []][request.node.callspec.params["language"] == "lua":]  # Lua has no threads
    for way in "exclusive", "reuseport":
        for kind in kinds:
            status, text = run(way, *kind).finish()
            got = [int(number) for number in re.findall(rf"{'thread' if kind else 'process'} \d: (\d+)", text)]
            assert status == 0 and len(got) == 4 and sum(got) == 200, text


def check_zmq_fd(run, _):
    zmq = pytest.importorskip("zmq", reason="python3-zmq is not installed")
    program = run()
    endpoint = program.wait_for(r"listening on (\S+)\n")[1]
    with zmq.Context() as context:
        clients = [context.socket(zmq.REQ) for _ in range(20)]
        for client in clients:
            client.linger = 0
            client.connect(endpoint)
        for _ in range(10):
            for client in clients:  # all at once: an edge for many messages
                client.send(b"hello")
            for client in clients:
                assert client.poll(SECONDS * 1000) and client.recv() == b"HELLO"
        for client in clients:
            client.close()
    program.interrupt()


def check_multi_socket(run, request):
    server = request.getfixturevalue("web_server")
    status, text = run(f"{server}/big", f"{server}/small", f"{server}/none").finish()
    assert status == 0, text
    assert sorted(text.splitlines()) == [f"200 3000000 {server}/big", f"200 5 {server}/small", f"404 7 {server}/none"]
    with socket.socket() as nobody:  # bound, and nobody listens
        nobody.bind(("127.0.0.1", 0))
        status, text = run(f"http://127.0.0.1:{nobody.getsockname()[1]}/").finish()
    assert status == 1 and "failed" in text


def check_async_query(run, request):
    conninfo = request.getfixturevalue("postgresql")
    slow = "select 'slow' from pg_sleep(1)"
    status, text = run(conninfo, slow, "select 6 * 7, 'fast'", "select length(repeat('x', 9)), repeat('x', 300000)").finish()
    lines = text.splitlines()
    assert status == 0 and lines[-1] == f"{slow}: slow", text  # the others didn't wait for it
    assert "select 6 * 7, 'fast': 42, fast" in lines and any(line.endswith("9, " + "x" * 300000) for line in lines)
    status, text = run(conninfo, "select nothing").finish()
    assert status == 1 and 'column "nothing" does not exist' in text and "raceback" not in text


@pytest.mark.parametrize("language, name", [program for program in PROGRAMS if program[1] != "watch_everything"])
def test_example_does_what_it_says(start, request, language, name):
    globals()[f"check_{name}"](lambda *arguments: start(language, name, *arguments), request)


@pytest.mark.parametrize("language", ["c", "python", "lua"])
def test_echo_server_serves_who_waited_for_a_file_descriptor(start, language):
    program = start(language, "echo_server")
    address = "127.0.0.1", int(program.wait_for(r"listening on port (\d+)\n")[1])
    with socket.create_connection(address, SECONDS) as one:
        def echo(client):
            client.sendall(b"hello\n")
            assert client.recv(64) == b"hello\n"

        echo(one)
        used = set(map(int, os.listdir(f"/proc/{program.process.pid}/fd")))
        free = min(set(range(len(used) + 1)) - used)
        resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, (free, free))
        with socket.create_connection(address, SECONDS) as other:
            echo(one)  # the other's accept() has failed before
            if language != "c":  # which is silent
                program.wait_for("open files")
            one.close()
            echo(other)
            program.interrupt()


def test_watch_everything_does_what_it_says_in_each_language(start):
    for program in [start(*program) for program in PROGRAMS if program[1] == "watch_everything"]:  # all at once: five seconds
        status, text = program.finish()
        assert status == 0 and re.search(r"\d+ events in \d+ batches, from 5 requests, each armed once", text), text


# ---- Ctrl-C, where not checked above ----


@pytest.mark.parametrize("language, name", [program for program in PROGRAMS if program[1] in {
    "tail_pipe", "subprocess_progress", "hangup", "async_query", "multi_socket"}])
def test_ctrl_c_ends_an_example_in_its_wait(start, fifo, request, language, name):
    if name == "multi_socket":
        with socket.create_server(("127.0.0.1", 0)) as silent:
            program = start(language, name, f"http://127.0.0.1:{silent.getsockname()[1]}/")
            silent.settimeout(SECONDS)
            with silent.accept()[0]:
                return program.interrupt()
    if name == "tail_pipe":
        program = start(language, name)
        program.write("started\n")
    elif name == "hangup":
        program = start(language, name, fifo)
        fifo.write_text("started\n")
    elif name == "async_query":
        conninfo = request.getfixturevalue("postgresql")
        program = start(language, name, conninfo, "select 'started'", "select pg_sleep(60)")
    else:
        script = "echo started; exec sleep 60"
        program = start(language, name, *([script] if language == "lua" else ["sh", "-c", script]))
    program.wait_for("started")
    program.interrupt()
