"""Signals, forks, sub-interpreters, and the end of the interpreter: in processes of their own."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import pollring
from conftest import GUARD, PATIENCE, is_asleep, readable
from pollring import POLLIN


def run(code, **options):
    """Starts a Python that runs the code with `ring` open."""
    prelude = f"import os, pollring, signal, sys\nring = pollring.Ring(**{options!r})\n"
    return subprocess.Popen([sys.executable, "-c", prelude + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def wait_until_asleep(process):
    """Until its main thread sleeps in a wait."""
    deadline = time.monotonic() + GUARD
    while time.monotonic() < deadline:
        if is_asleep(f"/proc/{process.pid}"):
            return
        time.sleep(0.001)
    process.kill()
    pytest.fail(f"it never slept: {process.communicate()}")


def test_python_warns_of_nothing_from_import_to_end():
    code = "import pollring, pollring.lab.cli; pollring.Ring().close()"
    ended = subprocess.run([sys.executable, "-W", "error", "-c", code], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=GUARD)
    assert (ended.stdout, ended.returncode) == ("", 0)


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
    out, err = process.communicate(timeout=GUARD)
    assert out == "interrupted True []\n" and process.returncode == 0, err
    assert time.monotonic() - started < 5 * PATIENCE


def test_a_signal_s_handler_runs_and_the_timeout_is_kept(options):
    code = f"""
import time
signal.signal(signal.SIGALRM, lambda *_: print("tick"))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
started = time.monotonic()
assert ring.wait(0.1) == []
signal.setitimer(signal.ITIMER_REAL, 0)
assert 0.1 <= time.monotonic() - started < {5 * PATIENCE}
"""
    process = run(code, **options)
    out, err = process.communicate(timeout=GUARD)
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
        out, err = process.communicate(timeout=GUARD)
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
    assert readable(fd, GUARD)
    assert ring.wait() == [(poll, POLLIN)]


def held():
    """How many queues of the kernel are mapped, and how many fds are open."""
    with open("/proc/self/maps") as maps:
        return sum("io_uring" in line for line in maps), len(os.listdir("/proc/self/fd"))


def test_closing_in_a_forked_child_releases_its_memory(options):
    with pollring.Ring(**options) as ring:
        ring.fileno()
        mapped, fds = held()

        def child():
            fds_of_the_test = held()[1] - fds
            ring.close()
            return held()[0], held()[1] - fds_of_the_test < fds

        assert in_child(child) == "(0, True)"
        assert held()[0] == mapped


def test_dropping_in_a_forked_child_is_closing(options, pair):
    a, peer = pair()
    kept = [pollring.Ring(**options)]
    poll = kept[0].poll_add(a)
    poll.data = [poll]
    kept[0].submit()
    kept.append(poll)
    del poll

    def child():
        before = held()
        kept.clear()
        gc.collect()
        return held() < before

    assert in_child(child) == "True"
    peer.send(b"x")
    assert kept[0].wait() == [(kept[1], POLLIN)]
    kept[0].close()


def test_forking_inside_an_iteration(ring, pair):
    a, peer = pair()
    peer.send(b"x")
    poll = ring.poll_add(a)
    seen = 0

    def child():
        try:
            return list(poll)
        except RuntimeError as error:
            return error

    for _ in poll:
        a.recv(10)
        assert "forked child" in in_child(child)
        seen += 1
        peer.send(b"x") if seen < 4 else peer.close()
        if seen == 5:
            assert poll.end_reason == "hangup"
    assert seen == 5


def test_forking_while_another_thread_waits(ring, pair):
    a, peer = pair()
    poll = ring.poll_add(a)
    received = threading.Semaphore(0)

    def own():
        for _ in poll:
            a.recv(10)
            received.release()

    owner = threading.Thread(target=own)
    owner.start()
    for _ in range(20):
        peer.send(b"x")  # which the owner takes while this forks
        assert in_child(ring.close) == "None"
        assert received.acquire(timeout=GUARD)
    peer.close()
    owner.join()


@pytest.mark.parametrize("close_fds", [True, False])
def test_a_subprocess_with_code_before_its_exec(ring, pair, close_fds):
    a, peer = pair()
    poll = ring.poll_add(a)
    ring.wait(0)

    def before_exec():
        for call in (ring.wait, poll.remove, poll.wait):
            try:
                call()
            except RuntimeError:
                continue
            raise AssertionError(f"{call} worked")
        ring.close()

    subprocess.run(["true"], preexec_fn=before_exec, close_fds=close_fds, check=True)
    peer.send(b"x")
    assert ring.wait() == [(poll, POLLIN)]


def test_multiprocessing_by_fork(ring, pair):
    a, peer = pair()
    poll = ring.poll_add(a)
    ring.wait(0)
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()

    def child():
        try:
            ring.wait(0)
        except RuntimeError as error:
            answers.put(str(error))

    process = fork.Process(target=child)
    process.start()
    assert "forked child" in answers.get()
    process.join()
    assert process.exitcode == 0
    answers.close()
    process.close()
    peer.send(b"x")
    assert ring.wait() == [(poll, POLLIN)]


def test_a_forked_child_may_just_end(ring, pair):
    a, peer = pair()
    ring.poll_add(a)
    ring.wait(0)
    assert in_child(lambda: "bye") == "bye"
    peer.send(b"x")
    ((_, events),) = ring.wait()
    assert events == POLLIN


# ---- the end of the interpreter ----

ENDS = {
    "everything is open": """
polls = [ring.poll_add(r) for _ in range(10)]
ring.poll_add(w, 4)
ring.wait()
""",
    "iterators are left": """
def watch():
    with pollring.Ring() as other:
        for events in other.poll_add(w, 4):
            yield events
ring.poll_add(w, 4)
left = iter(ring.poll_add(w, 4)), ring.events(), watch()  # a batch has no order, so the one poll's first
for iterator in left:
    next(iterator)
""",
    "a daemon thread waits": """
import threading
def run():
    other = pollring.Ring()
    other.poll_add(r)
    other.wait(0)
    started.set()
    other.wait()
started = threading.Event()
threading.Thread(target=run, daemon=True).start()
started.wait()
""",
    "a daemon thread waits on the ring of all": """
import threading
def run():
    ring.wait(0)
    started.set()
    for events in poll:
        pass
poll = ring.poll_add(r)
started = threading.Event()
threading.Thread(target=run, daemon=True).start()
started.wait()
""",
    "a daemon thread adds and removes": """
import threading
def run():
    other = pollring.Ring()
    while True:
        poll = other.poll_add(w, 4)
        other.wait()
        poll.remove()
        other.wait(0)
        started.set()
started = threading.Event()
threading.Thread(target=run, daemon=True).start()
started.wait()
""",
    "finalisers use it": """
import atexit
class Late:
    def __init__(self):
        self.itself, self.ring, self.poll = self, ring, poll
    def __del__(self):
        try:
            self.ring.wait(0)
            self.poll.remove()
            self.ring.close()
        except ValueError:
            pass
poll = ring.poll_add(w, 4)
late = Late(), Late()
sys.modules["late"] = Late()
atexit.register(lambda: ring.wait(0))
""",
    "a signal's handler ends it": """
ring.poll_add(r)
signal.signal(signal.SIGALRM, lambda *_: sys.exit(0))
signal.setitimer(signal.ITIMER_REAL, 0.01)
list(ring.events())
""",
    "os._exit ends it": """
import threading
ring.poll_add(r)
threading.Timer(0.01, os._exit, [0]).start()
ring.wait()
""",
    "a forked child of it ends": """
poll = ring.poll_add(r)
ring.wait(0)
child = os.fork()
if child:
    sys.exit(os.waitpid(child, 0)[1])
""",
}


@pytest.mark.parametrize("how", ENDS)
def test_the_interpreter_ends_while(options, how):
    process = run("r, w = os.pipe()" + ENDS[how], **options)
    out, err = process.communicate(timeout=GUARD)
    assert (process.returncode, out, err) == (0, "", "")


# ---- sub-interpreters ----

INTERPRETERS = """
import os, sys
try:
    import _interpreters as interpreters
    kinds = ["legacy"], ["isolated"]
except ImportError:
    import _xxsubinterpreters as interpreters
    kinds = [],

def use():
    import pollring
    r, w = os.pipe()
    with pollring.Ring() as ring:
        poll = ring.poll_add(r)
        os.write(w, b"x")
        assert str(ring.wait()) == f"[({poll}, <POLLIN: 1>)]"

def refuse():
    for kind in kinds * 2:
        interpreter = interpreters.create(*kind)
        interpreters.run_string(interpreter, f"import sys; sys.path[:0] = {sys.path}\\n" + sys.argv[1])
        interpreters.destroy(interpreter)

"""
IMPORT = """
try:
    import pollring
except ImportError as error:
    print(error, flush=True)
"""


@pytest.mark.parametrize("order", ["use(); refuse(); use()", "refuse(); use(); refuse()"])
def test_a_sub_interpreter_is_refused_and_harms_no_other(order):
    ran = subprocess.run([sys.executable, "-c", INTERPRETERS + order, IMPORT], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout and all("interpreter" in line for line in ran.stdout.splitlines())
