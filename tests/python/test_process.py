"""Signals, forks, and the end of the interpreter: in processes of their own."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

import pollring
from conftest import readable
from pollring import POLLIN


def run(code, **options):
    """Starts a Python that runs the code with `ring` open."""
    prelude = f"import os, pollring, signal, sys\nring = pollring.Ring(**{options!r})\n"
    return subprocess.Popen([sys.executable, "-c", prelude + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def wait_until_asleep(process):
    """Until its main thread sleeps in io_uring_enter or epoll_wait."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with open(f"/proc/{process.pid}/wchan") as file:
            if re.search("io_cqring_wait|ep_poll|epoll_wait", file.read()):
                return
        time.sleep(0.001)
    process.kill()
    pytest.fail(f"it never slept: {process.communicate()}")


@pytest.mark.parametrize("waiting", [
    "ring.wait()", "ring.wait(60)", "ring.poll_add(r).wait()", "[e for e in ring.poll_add(r)]", "list(ring.events())",
])
def test_ctrl_c_ends_a_wait_at_once(options, waiting):
    code = f"""
r, w = os.pipe()
ring.poll_add(r)
print("ready", flush=True)
try:
    {waiting}
except KeyboardInterrupt:
    print("interrupted", ring.active >= 1, ring.wait(0))
"""
    process = run(code, **options)
    assert process.stdout.readline() == "ready\n"
    wait_until_asleep(process)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert out == "interrupted True []\n" and process.returncode == 0, err
    assert time.monotonic() - started < 5


def test_a_signal_s_handler_runs_and_the_timeout_is_kept(options):
    code = """
import time
signal.signal(signal.SIGALRM, lambda *_: print("tick"))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
started = time.monotonic()
assert ring.wait(0.1) == []
signal.setitimer(signal.ITIMER_REAL, 0)
assert 0.1 <= time.monotonic() - started < 5
"""
    process = run(code, **options)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and out.count("tick") >= 2, err


def test_a_handler_may_wake_and_may_close(options):
    for action, outcome in (("ring.wake()", "[]"), ("ring.close()", "ValueError('the ring is closed')")):
        code = f"""
signal.signal(signal.SIGUSR1, lambda *_: {action})
print("ready", flush=True)
try:
    print(repr(ring.wait()))
except ValueError as error:
    print(repr(error))
"""
        process = run(code, **options)
        assert process.stdout.readline() == "ready\n"
        wait_until_asleep(process)
        process.send_signal(signal.SIGUSR1)
        out, err = process.communicate(timeout=10)
        assert out.strip() == outcome, err


def in_child(function):
    """Runs it in a forked child; returns what it returned, as text."""
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            text = str(function())
        except BaseException as error:
            text = f"failed: {error!r}"
        os.write(w, text.encode())
        os._exit(0)
    os.close(w)
    os.waitpid(pid, 0)
    text = os.read(r, 100000).decode()
    os.close(r)
    return text


def test_a_forked_child_can_only_close(ring, pair):
    a, peer = pair()
    poll = ring.poll_add(a)
    fd = ring.fileno()
    ring.wait(0)
    peer.send(b"x")

    def child():
        errors = []
        for call in (ring.wait, ring.submit, ring.wake, ring.adopt, ring.fileno, poll.remove, poll.recheck, poll.wait,
                     lambda: next(poll), lambda: ring.poll_add(a), lambda: ring.remove_fd(a)):
            try:
                call()
                errors.append(f"{call} worked")
            except RuntimeError as error:
                if "forked child" not in str(error):
                    errors.append(str(error))
        ring.close()
        with pollring.Ring() as fresh:  # and a ring of its own works
            fresh.poll_add(a)
            errors.extend(str(events) for _, events in fresh.wait() if events != POLLIN)
        return poll.end_reason, errors, os.path.exists(f"/proc/self/fd/{fd}")

    assert in_child(child) == "('closed', [], False)"
    assert ring.wait() == [(poll, POLLIN)]  # the parent has lost nothing
    a.recv(10)
    peer.send(b"y")
    assert readable(fd, 10)
    assert ring.wait() == [(poll, POLLIN)]


def test_a_forked_child_may_just_end(ring, pair):
    a, peer = pair()
    ring.poll_add(a)
    ring.wait(0)
    assert in_child(lambda: "bye") == "bye"
    peer.send(b"x")
    ((_, events),) = ring.wait()
    assert events == POLLIN


def test_the_interpreter_ends_with_everything_open(options):
    process = run("r, w = os.pipe(); polls = [ring.poll_add(r) for _ in range(10)]; ring.poll_add(w, 4); ring.wait()",
                  **options)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")
