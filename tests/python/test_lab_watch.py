"""`pollring watch`: every target, what it drains and what it leaves alone, how it ends."""

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import time
import tty
from xml.etree import ElementTree

import pytest

from command import SECONDS, Terminal, argv, run, start
from pollring.lab import linux, targets
from pollring.lab.cli import main
from pollring.lab.targets import Bytes


def watch(*arguments, **options):
    """The JSON lines of a whole run: targets, events, and the summary."""
    done = run("watch", "--json", *arguments, **options)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["type"] == "summary"
    return ([line for line in lines if line["type"] == "target"], [line for line in lines if line["type"] == "event"],
            lines[-1])


@contextlib.contextmanager
def watching(*arguments, **options):
    """A running watch: yields it and a function for its next line."""
    process = start("watch", "--json", *arguments, **options)

    def following():
        assert select.select([process.stdout], [], [], SECONDS)[0], "it said nothing"
        return json.loads(process.stdout.readline())

    with process:
        try:
            yield process, following
        finally:
            process.kill()


def test_standard_input_is_drained_until_it_hangs_up():
    (target,), events, summary = watch("-", input="hello")
    assert target["target"] == "-" and target["about"] == "fd 0, a pipe" and target["drains"]
    assert sum(event["drained"] for event in events) == 5
    assert events[-1]["end"] == "hangup" and not events[-1]["more"] and "HUP" in events[-1]["events"]
    assert summary["targets"] == [{"target": "-", "events": len(events), "drained": 5}]
    assert summary["events"] == len(events)


def test_every_field_of_an_event_has_its_type():
    _, events, _ = watch("timer:1ms", "--count", "2")
    for event in events:
        assert {key: type(value) for key, value in event.items()} == {
            "type": str, "time": float, "target": str, "events": list, "mask": int, "more": bool, "end": type(None),
            "drained": int, "note": str}
    assert [(event["events"], event["mask"], event["drained"]) for event in events] == [(["IN"], 1, 8)] * 2


def test_what_is_no_file_to_be_polled_ends_at_once(tmp_path):
    (tmp_path / "file").write_text("12345")
    with open(tmp_path / "file") as file:
        _, (event,), _ = watch("-", stdin=file)
    assert event["end"] == "unpollable" and event["drained"] == 5


def test_an_inherited_fd_is_left_alone():
    r, w = os.pipe()
    os.write(w, b"precious")
    (target,), (event,), _ = watch(f"fd:{r}", "--for", "0.2", pass_fds=[r])
    assert not target["drains"] and event["drained"] is None and event["note"] == "8 unread" and event["more"]
    assert os.read(r, 100) == b"precious"
    os.close(r)
    os.close(w)


def test_a_fifo_is_left_alone_and_may_come_back(tmp_path):
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    with watching(path) as (process, following):
        assert following()["about"] == "a FIFO"
        for _ in range(2):
            with open(path, "wb", buffering=0) as writer:
                writer.write(b"abc")
                event = following()
                assert event["events"] == ["IN"] and event["drained"] is None and event["note"].endswith("unread")
            while "HUP" not in event["events"]:
                event = following()
            assert event["more"]


@pytest.mark.parametrize("option, read, left", [("--drain", 8, b""), ("--no-drain", 0, b"precious")])
def test_drain_and_no_drain_decide_for_all(option, read, left):
    r, w = os.pipe()
    os.write(w, b"precious")
    os.close(w)
    with open(r, "rb") as file:
        targets, events, summary = watch("-", f"fd:{r}", option, "--for", "0.5", stdin=file, pass_fds=[r])
        assert [target["drains"] for target in targets] == [option == "--drain"] * 2
        assert sum(target["drained"] for target in summary["targets"]) == read
        os.set_blocking(r, False)
        assert file.read() == left


def test_nothing_is_read_for_being_writable():
    ours, peer = socket.socketpair()
    with ours, peer:
        peer.send(b"precious")
        _, (event,), _ = watch(f"fd:{ours.fileno()}", "--drain", "-e", "out", "--for", "0.1", pass_fds=[ours.fileno()])
        assert event["events"] == ["OUT"] and event["drained"] is None
        assert ours.recv(100) == b"precious"


def test_it_leaves_the_flags_of_its_input_alone():
    """O_NONBLOCK belongs to the open file, which the shell has too."""
    r, w = os.pipe()
    with watching("-", "timer:1ms", stdin=r) as (_, following):
        while following().get("target") != "timer:1ms" or following()["type"] == "target":
            pass
        os.write(w, b"x")
        while following()["target"] != "-":
            pass
        assert os.get_blocking(r)
    os.close(r)
    os.close(w)


def test_a_tcp_connection_and_its_end():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with watching(f"tcp:127.0.0.1:{port}", "-e", "in|rdhup") as (process, following):
            peer, _ = server.accept()
            assert following()["about"] == f"connected to 127.0.0.1:{port}"
            peer.send(b"hello")
            event = following()
            assert event["events"] == ["IN"] and event["drained"] == 5 and event["more"]
            peer.close()
            event = following()
            assert "RDHUP" in event["events"] and event["end"] == "hangup"
            assert following()["type"] == "summary" and process.wait(SECONDS) == 0


def test_a_listener_watches_what_it_accepted():
    with watching("listen:0") as (_, following):
        port = int(following()["about"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert following()["note"] == "1 accepted"
            assert following()["target"] == "listen:0#1"
            client.send(b"abc")
            event = following()
            assert event["target"] == "listen:0#1" and event["drained"] == 3
            client.shutdown(socket.SHUT_WR)
            assert following()["end"] == "hangup"
            client.settimeout(SECONDS)
            assert client.recv(1) == b""  # it was closed, though the watching goes on


@pytest.mark.parametrize("prefix", ["unix:", ""])
def test_a_unix_socket_by_its_path(tmp_path, prefix):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        with watching(prefix + path) as (_, following):
            peer, _ = server.accept()
            assert following()["about"] == "connected, SOCK_STREAM"
            with peer:
                peer.send(b"abc")
                assert following()["drained"] == 3


def test_a_folder_and_a_regular_file_are_watched_by_inotify(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with watching(str(tmp_path), str(file)) as (_, following):
        about = [following()["about"], following()["about"]]
        assert about[0].startswith("a folder,") and about[1].startswith("a regular file,") and "inotify" in about[1]
        (tmp_path / "new").touch()
        assert "created new" in following()["note"]
        file.write_text("x")
        notes = []
        while {"modified file", "modified"} - set(notes):  # the folder names it, the file itself has no name
            notes += following()["note"].split(", ")


def test_names_of_files_are_no_commands_to_the_terminal(tmp_path):
    path = os.fsencode(tmp_path) + b"/\x1b[31m\xff\n"
    os.mkdir(path)
    with watching(path) as (_, following):
        assert following()["target"] == os.fsdecode(path)
    svg = tmp_path / "a.svg"
    done = run("watch", path, "--for", "0", "--svg", str(svg))
    assert done.returncode == 0 and done.stderr == ""
    assert "\x1b" not in done.stdout and done.stdout.count("/\\x1b[31m\\udcff\\n") == 2
    ElementTree.fromstring(svg.read_text())


def test_signals_are_named_with_their_sender():
    with watching("signal:usr1") as (process, following):
        following()
        process.send_signal(signal.SIGUSR1)
        assert following()["note"] == f"SIGUSR1 from {os.getpid()}"


def test_the_end_of_a_process():
    child = subprocess.Popen(["sleep", "60"])
    with watching(f"pid:{child.pid}") as (process, following):
        following()
        child.kill()
        child.wait()
        event = following()
        assert (event["note"], event["more"], event["end"]) == ("it ended", False, "oneshot")
        assert following()["type"] == "summary"
        assert process.wait(SECONDS) == 0


def test_a_command_is_watched_to_its_end():
    targets, events, summary = watch("--", "sh", "-c", "echo out; echo error >&2; exit 3")
    assert [target["target"] for target in targets] == ["stdout", "stderr", "end"]
    assert [target["drained"] for target in summary["targets"]] == [4, 6, 0]
    assert [(event["note"], event["more"], event["end"]) for event in events if event["target"] == "end"] == [
        ("exit status 3", False, "oneshot")]


def test_a_command_does_not_outlive_it():
    (_, _, end), _, _ = watch("--for", "0.1", "--", "sleep", "600")
    with pytest.raises(ProcessLookupError):
        os.kill(int(end["about"].split()[1]), 0)


def test_a_command_has_the_signals_that_are_watched():
    """A blocked signal would be inherited."""
    _, events, _ = watch("signal:USR1", "--for", "10", "--count", "3", "--",
                         sys.executable, "-c", "import os; os.kill(os.getpid(), 10)")
    assert "killed by SIGUSR1" in [event["note"] for event in events]


def test_once_is_one_event_a_target():
    _, events, summary = watch("timer:1ms", "timer:2ms", "--once")
    assert [event["end"] for event in events] == ["oneshot"] * 2 and summary["events"] == 2


def test_the_limits():
    started = time.monotonic()
    assert watch("timer:60", "--for", "0.2")[2]["events"] == 0
    assert time.monotonic() - started < SECONDS / 2
    assert watch("timer:1ms", "timer:1ms", "--count", "5")[2]["events"] == 5


def test_what_never_stops_is_read_in_parts_and_ends_in_time():
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as source:
        _, events, summary = watch("-", "--for", "0.3", stdin=source.stdout)
        source.kill()
    assert events[0]["more"] and max(event["drained"] for event in events) <= 1 << 20
    assert summary["time"] < SECONDS / 2


def test_what_is_more_than_is_read_at_once_is_read_to_its_end(monkeypatch, capsys):
    """Though no wake-up tells of the rest."""
    monkeypatch.setattr(targets, "PORTION", 1024)
    r, w = os.pipe()
    os.write(w, bytes(10240))
    assert main(["watch", f"fd:{r}", "--drain", "--json", "--count", "10"]) == 0
    *_, summary = capsys.readouterr().out.splitlines()
    assert json.loads(summary)["targets"][0]["drained"] == 10240
    os.close(r)
    os.close(w)


def test_the_timeline_is_drawn_into_files(tmp_path):
    svg, page = tmp_path / "a.svg", tmp_path / "a.html"
    done = run("watch", "timer:10ms", "--count", "3", "--timeline", "--svg", str(svg), "--html", str(page))
    assert done.returncode == 0, done.stderr
    assert svg.read_text().count("<circle") == 3 + 1 and page.read_text().startswith("<!doctype html>")  # 1: legend
    assert "├" in done.stdout and done.stdout.count("●") >= 2


def test_ctrl_c_ends_it_with_the_summary():
    with watching("timer:60") as (process, following):
        following()
        process.send_signal(signal.SIGINT)
        assert following()["type"] == "summary" and process.wait(SECONDS) == 0


def test_json_is_json_in_a_terminal_too():
    with Terminal("watch", "--json", "timer:1ms", "--count", "2") as terminal:
        assert terminal.finish() == 0
    assert [json.loads(line)["type"] for line in terminal.text.splitlines()] == ["target", "event", "event", "summary"]


@pytest.mark.parametrize("rich", [True, False])
def test_in_a_terminal(rich):
    """Lines as they are typed, Ctrl-D, and Ctrl-C from the keyboard."""
    if rich:
        pytest.importorskip("rich")
    with Terminal("watch", "-", without=() if rich else ["rich"]) as terminal:
        terminal.wait_for("fd 0, a terminal")
        for number, (keys, line) in enumerate([("hello\n", "IN +more +6 bytes"), ("\x04", "IN +more +0 bytes")], 1):
            terminal.type(keys)
            terminal.wait_for(line)
            if rich:
                terminal.wait_for(f"{number} events?, 1 armed; Ctrl-C ends it")
        assert ("\x1b[" in terminal.text) == rich
        terminal.type("\x03")
        assert terminal.finish() == 0
        assert "2 events in " in terminal.plain and "2 events, 6 bytes drained" in terminal.plain


def test_a_terminal_s_bytes_are_left_for_the_program_that_has_it():
    master, slave = pty.openpty()
    tty.setraw(slave, termios.TCSANOW)
    os.write(master, b"keys")
    with watching(os.ttyname(slave)) as (process, following):
        target, event = following(), following()
        assert target["about"] == "a terminal" and not target["drains"] and event["note"] == "4 unread"
        process.send_signal(signal.SIGINT)
        process.wait(SECONDS)
    assert os.read(slave, 100) == b"keys"
    os.close(master)
    os.close(slave)


def blocking_files():
    r, w = os.pipe()
    yield "pipe", r, w
    a, b = socket.socketpair()
    yield "socket", a.detach(), b.detach()
    master, slave = pty.openpty()
    tty.setraw(slave, termios.TCSANOW)
    yield "slave", slave, master
    master, slave = pty.openpty()
    tty.setraw(slave, termios.TCSANOW)
    yield "master", master, slave


def test_no_read_sleeps_and_no_flag_is_set():
    """Though the files block, and somebody else took the data in between."""
    for name, fd, other in blocking_files():
        target = Bytes(name, fd, "")
        assert target.take(False).drained == 0, name
        os.write(other, b"abc")
        while linux.unread(fd) < 3:
            time.sleep(0.001)
        assert target.take(False).drained == 3 and target.take(True).drained == 0, name
        assert os.get_blocking(fd)
        target.close()
        os.close(fd)
        os.close(other)


@pytest.mark.parametrize("arguments, wrong, right", [
    ([], "nothing to watch", "pollring watch tcp:localhost:80"),
    (["nonsense"], "there is no 'nonsense'", "tcp:localhost:80"),
    (["tcp:host"], "needs a number up to 65535", "tcp:localhost:80"),
    (["listen:99999"], "needs a number up to 65535", "listen:8080"),
    (["fd:x"], "needs a number", "fd:3"),
    (["timer:soon"], "'soon' is no duration", "pollring watch timer:10ms"),
    (["timer:-1"], "'-1' is no duration", "pollring watch timer:10ms"),
    (["timer:0"], "a timer expires every", "pollring watch timer:0.5"),
    (["signal:NOPE"], "names no signal", "pollring watch signal:USR1"),
    (["signal:KILL"], "names no signal", "pollring watch signal:USR1"),
    (["pid:4194304"], "no such process", "pollring watch pid:$$"),
    (["-", "-e", "inn"], "'inn' is no poll event", "pollring watch - -e 'in|rdhup'"),
    (["-", "--for", "long"], "'long' is no duration", "pollring watch timer:1 --for 10ms"),
    (["-", "--count", "0"], "--count needs a number", "pollring watch timer:1 --count 10"),
    (["-", "--drain", "--no-drain"], "not allowed with", "pollring watch"),
    (["-", "--json", "--timeline"], "not allowed with", "timer:1 --timeline"),
    (["-", "--svg"], "expected one argument", "pollring watch"),
    (["-", "--frob"], "what is '--frob'", "pollring watch"),
])
def test_mistakes_are_answered(arguments, wrong, right, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["watch", *arguments])
    out, err = capsys.readouterr()
    first, second, third = err.splitlines()
    assert out == ""
    assert first.startswith("pollring watch: ") and wrong in first
    assert second.startswith("Right is, for example: ") and right in second and "--help" in third


@pytest.mark.parametrize("arguments, wrong", [
    (["fd:77"], "fd:77: Bad file descriptor"),
    (["--", "no-such-program"], "no-such-program: No such file or directory"),
    (["timer:1ms", "--count", "1", "--svg", "/no/such/folder"], "/no/such/folder: No such file or directory"),
])
def test_what_the_kernel_refuses_is_told(arguments, wrong):
    done = run("watch", *arguments)
    assert done.returncode == 1 and done.stderr == f"pollring watch: {wrong}\n"


def test_a_refused_connection_is_told():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = run("watch", f"tcp:127.0.0.1:{unused.getsockname()[1]}")
    assert done.returncode == 1 and done.stderr.endswith("Connection refused\n") and done.stderr.count("\n") == 1


def test_nobody_reads_its_output():
    r, w = os.pipe()
    os.close(r)
    done = subprocess.run(argv("watch", "timer:1ms", "--count", "3"), stdout=w, stderr=subprocess.PIPE, timeout=SECONDS)
    os.close(w)
    assert done.returncode == 1 and done.stderr == b""
