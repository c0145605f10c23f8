"""What the machine allows: what refuses io_uring is named, by the probe and by the ring that can't be opened."""

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import pollring
from conftest import GUARD

REFUSE = Path(__file__).parent.parent / "refuse.py"
REPORT = """
import json, pollring
text, number = "", 0
try:
    with pollring.Ring(**{**options, "backend": "io_uring"}) as ring:
        ring.submit()
except OSError as error:
    text, number = error.strerror, error.errno
print(json.dumps([pollring.probe(), text, number]))
"""


def refused(*how, **options):
    """In a process where io_uring is refused: what the probe says, and the text and errno of what a ring raises."""
    command = [sys.executable, REFUSE, *how, sys.executable, "-c", f"options = {options!r}{REPORT}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=GUARD)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_probe_where_io_uring_works():
    probe = pollring.probe()
    assert probe["kernel"] == os.uname().release
    assert probe["backend"] == "io_uring"
    assert (probe["io_uring"], probe["cause"], probe["refused_at"], probe["message"]) == (0, "", "", "")
    assert "plain" in probe["setups"]
    assert probe["resize"] in (False, "defer_taskrun" in probe["setups"])


@pytest.mark.parametrize("name", ["EPERM", "ENOSYS", "EOPNOTSUPP"])
@pytest.mark.parametrize("call", ["setup", "register", "enter"])
def test_a_filter_is_named(options, call, name):
    probe, text, number = refused(f"--{call}", name, **options)
    assert (probe["cause"], probe["refused_at"]) == ("seccomp", call)
    assert probe["io_uring"] == -getattr(errno, name)
    assert probe["setups"] == [] and probe["resize"] is False
    assert f"io_uring_{call} ({name})" in probe["message"] and "--security-opt seccomp=" in probe["message"]
    assert number == getattr(errno, name)
    assert text == "Ring: " + probe["message"]
    assert probe["backend"] == "epoll"


def test_what_the_kernel_lacks_is_named():
    probe, text, _ = refused("--pwait2", "ENOSYS")
    assert any("epoll_pwait2()" in sentence and "milliseconds" in sentence for sentence in probe["lacks"])
    assert (probe["io_uring"], text) == (0, "")


def test_the_sysctl_is_named():
    probe, text, number = refused("--sysctl", "2", "--setup", "EPERM")
    assert (probe["cause"], probe["sysctl_disabled"]) == ("sysctl", 2)
    assert "sysctl -w kernel.io_uring_disabled=0" in probe["message"]
    assert (text, number) == ("Ring: " + probe["message"], errno.EPERM)


def test_the_limit_of_open_files_is_named():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = os.dup(0)
    os.close(used)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, limits[1]))
    try:
        probe = pollring.probe()
        with pytest.raises(OSError, match="ulimit -n") as caught:
            pollring.Ring()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caught.value.errno == errno.EMFILE
    assert (probe["cause"], probe["io_uring"]) == ("fd_limit", -errno.EMFILE)


LARGE = """
import os, pollring, resource
resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
os.setuid(65534)
assert not pollring.probe()["cause"]
try:
    pollring.Ring(32768, backend="io_uring").close()
except OSError as error:
    print(error.errno, error)
"""


def test_a_ring_is_explained_by_its_own_size():
    """The default size works: what is refused is this ring, for the memory that it would lock."""
    if os.geteuid():
        pytest.skip("only root can become a user who locks no memory yet")
    done = subprocess.run([sys.executable, "-c", LARGE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=GUARD)
    if not done.stdout:
        pytest.skip("this kernel does not count rings as locked memory")
    assert done.stdout.startswith(f"{errno.ENOMEM} ") and "ulimit -l" in done.stdout
