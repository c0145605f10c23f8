"""Scenarios: the same steps on every interface, and that an outcome can be saved and compared."""

import errno
import json
import re
import signal

import pytest

import pollring
from pollring import POLLIN, POLLOUT
from pollring.lab import Mistake, Scenario, Step
from pollring.lab.interfaces import INTERFACES
from pollring.lab.kinds import KINDS
from pollring.lab.scenario import load, parse_steps

io_uring = pytest.mark.skipif(pollring.probe()["io_uring"] != 0, reason="io_uring is refused here")
MULTISHOT, ONCE = "POLL_ADD multishot", "POLL_ADD once"


def said(kind, steps, interface):
    """What one interface said, a text a step."""
    return [str(row[interface] or "") for row in Scenario(kind, steps).run().rows]


def test_level_interfaces_tell_the_state():
    for interface in ("poll(2)", "epoll level"):
        assert said("pipe", "arm in, write 3, read 1, read all, close", interface) == ["-", "IN", "IN", "-", "HUP"]


def test_edge_interfaces_tell_what_happened():
    assert said("pipe", "arm in, write 3, read 1, write 1, close", "epoll edge") == ["-", "IN", "-", "IN", "IN|HUP"]


@io_uring
def test_the_polls_are_raw():
    """A hangup ends neither, and one event ends the one-shot."""
    assert said("fifo", "arm in, write, close, reopen, write", MULTISHOT) == [
        "-", "IN more", "IN|HUP more", "IN more", "IN more"]
    assert said("pipe", "arm in, write, write", ONCE) == ["-", "IN end", "ended"]


@io_uring
def test_collecting_is_a_step_where_it_is_named():
    steps = "arm in, write 3, read all, collect"
    assert said("pipe", steps, MULTISHOT) == ["", "", "", "IN more"]  # stale
    assert said("pipe", steps, "epoll edge") == ["", "", "", "-"]


@io_uring
def test_update_recheck_and_remove():
    steps = "arm in, write, recheck, update out, remove, recheck"
    assert said("socketpair", steps, MULTISHOT) == [
        "-", "IN more", "IN more", "OUT more", "ECANCELED end", "ENOENT, ended"]
    assert said("socketpair", steps, "epoll edge") == ["-", "IN", "IN", "OUT", "ended", "ENOENT, ended"]
    assert said("socketpair", steps, "poll(2)") == ["-", "IN", "IN", "OUT", "ended", "ended"]


@io_uring
def test_close_own_while_armed():
    assert said("pipe", "arm in, close own, write", MULTISHOT) == ["-", "-", "IN more"]  # it holds the file
    assert said("pipe", "arm in, close own, arm in", "poll(2)")[1:] == ["NVAL", "EBADF, NVAL"]
    assert said("pipe", "arm in, close own, write, remove", "epoll level") == ["-", "ended", "EPIPE, ended", "EBADF, ended"]


def test_what_can_t_be_polled():
    for kind in ("file", "dir", "null"):
        assert said(kind, "arm in", "epoll level") == ["EPERM"]
        assert said(kind, "arm in", "poll(2)") == ["IN"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_of_every_kind_runs(kind):
    """And leaves nothing behind: the fixture counts file descriptors."""
    for step in KINDS[kind].steps.split():
        before = {"reopen": "close, ", "read": "write, ", "take": "fill, "}.get(step, "")
        result = Scenario(kind, f"arm in|out, {before}{step.replace('_', ' ')}").run()
        assert set(result.interfaces) | set(result.absent) == set(INTERFACES)
        for interface in set(result.interfaces) - {"epoll level", "epoll edge"}:  # those refuse a file
            assert not any(row[interface].error for row in result.rows), str(result)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"pipe-writer", "file", "dir", "null"}))
@io_uring
def test_all_interfaces_agree_on_one_event(kind):
    result = Scenario(kind, "arm in, write").run()
    assert [result.rows[1][name].reports[0].events for name in INTERFACES] == [POLLIN] * 5, str(result)


def test_a_signal_is_blocked_while_it_runs_only():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert said("signalfd", "arm in, write 3", "poll(2)") == ["-", "IN"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before and not signal.sigpending()


def test_a_step_that_fails_is_part_of_the_outcome():
    assert said("pipe", "arm in, close, write", "poll(2)") == ["-", "HUP", "EBADF, HUP"]


def test_nothing_is_asked_before_anything_is_armed():
    for interface in INTERFACES:
        assert said("pipe", "write, remove, arm out", interface)[:2] == ["", "ENOENT"]


@pytest.mark.parametrize("kind", KINDS)
def test_steps_that_fail_do_so_with_an_errno_that_is_explained(kind):
    steps = KINDS[kind].steps.replace("reset ", "").split()
    for first in filter(re.compile("write|close").match, steps):
        for second in "remove recheck arm".split() + steps:
            result = Scenario(kind, f"{first}, {second}, arm in, {second}".replace("_", " ")).run()
            for name, meaning in result.legend():
                assert meaning and not re.search(r"\d{2}", name + meaning), str(result)


def test_steps_in_words_and_in_python_are_the_same():
    built = (Scenario("fifo").arm("in|out").write(3).read(1).read().close().reopen().remove().update(POLLOUT).recheck()
             .collect().sleep("10ms").close(own=True))
    words = ("arm in|out, write 3; read 1\nread all, close, reopen, remove, update out, recheck, collect, sleep 10ms, "
             "close own")
    assert built.steps == parse_steps(words) == Scenario("fifo", words).steps
    assert ", ".join(map(str, built.steps)) == words.replace("; ", ", ").replace("\n", ", ")
    more = Scenario("tcp").fill().take("all").shutdown().reset().sleep(0.5)
    assert ", ".join(map(str, more.steps)) == "fill, take all, shutdown, reset, sleep 500ms"
    assert built.steps[0] == Step("arm", POLLIN | POLLOUT)


@pytest.mark.parametrize("kind, steps, wrong", [
    ("pip", "arm", "'pip' is no kind of file"),
    ("pipe", "arm in, jump", "'jump' is no step"),
    ("pipe", "arm inn", "'inn' is no poll event"),
    ("pipe", "update", "needs to be told"),
    ("pipe", "write many", "takes a count"),
    ("pipe", "write 0", "takes a count"),
    ("pipe", "read -1", "takes a count"),
    ("pipe", "shutdown", "pipe has no step 'shutdown'"),
    ("pipe", "reopen", "pipe has no step 'reopen'"),
    ("pipe", "sleep", "'' is no duration"),
    ("pipe", "sleep 2h", "'2h' is no duration"),
    ("pipe", "sleep 61", "a minute at most"),
    ("pipe", "close theirs", "takes nothing after it"),
    ("pipe", "recheck 1", "takes nothing after it"),
])
def test_mistakes_are_told(kind, steps, wrong):
    with pytest.raises(Mistake, match=wrong) as caught:
        Scenario(kind, steps)
    assert isinstance(caught.value, ValueError) and caught.value.example


def test_a_result_shows_as_a_table():
    result = Scenario("pipe").arm("in").write(2).read(1).run()
    head, *rows = str(result).splitlines()
    assert head.split("  ")[-1] and rows[2].startswith("read 1") and "≠ -" in rows[2]
    assert "≠      other than poll(2) says, which is the state of the file" in rows[4:]
    assert result._repr_html_().startswith("<table><tr><th></th><th>poll(2)</th>")
    assert result.differs(2, "epoll edge") and not result.differs(2, "epoll level")


def test_an_outcome_is_saved_and_is_the_same_again(tmp_path):
    path = str(tmp_path / "saved.json")
    first = Scenario("socketpair", "arm in, write 3, read 1, shutdown, close").run()
    first.save(path)
    saved = load(path)
    assert Scenario(saved["kind"], saved["steps"]).run().differences(saved) == []

    saved["outcome"][1]["poll(2)"]["reports"][0]["mask"] = POLLOUT
    (line,) = first.differences(saved)
    assert line == "step 2, write 3: poll(2) said OUT, now IN"


def test_interfaces_that_were_absent_are_not_compared(monkeypatch):
    saved = Scenario("pipe", "arm in, write").run().as_json()

    def refuse(*_, **__):
        raise OSError(errno.EPERM, "refused")

    monkeypatch.setattr(pollring, "Ring", refuse)
    result = Scenario("pipe", "arm in, write").run()
    assert result.absent == {ONCE: "refused", MULTISHOT: "refused"}
    assert result.interfaces == ["poll(2)", "epoll level", "epoll edge"] and result.differences(saved) == []
    assert result.table()[1] == ["write 1", "IN", "IN", "IN", "refused", "refused"]
    assert len(result.timeline().lanes) == 3


@pytest.mark.parametrize("change", [
    lambda saved: saved.pop("kind"), lambda saved: saved.update(pollring_scenario=2),
    lambda saved: saved.update(steps=["jump"]), lambda saved: saved.update(outcome=[1, 2]),
    lambda saved: saved["outcome"][0]["poll(2)"].pop("reports"), lambda saved: saved.update(outcome=[]),
])
def test_a_broken_file_is_a_mistake(tmp_path, change):
    saved = Scenario("pipe", "arm in, write").run().as_json()
    change(saved)
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(saved))
    with pytest.raises(Mistake, match=r"saved.json (is no saved scenario: |was saved as version 2)") as caught:
        load(str(path))
    assert "Error" not in str(caught.value)
    path.write_text("{")
    with pytest.raises(Mistake, match="no saved scenario"):
        load(str(path))


def test_the_timeline_has_a_lane_an_interface_and_a_column_a_step():
    result = Scenario("pipe").arm("in").write(1).remove().run()
    timeline = result.timeline()
    assert [lane.name for lane in timeline.lanes] == result.interfaces
    assert [text.split("\n")[0] for _, text in timeline.ticks] == ["arm in", "write 1", "remove"]
    for lane in timeline.lanes:
        first, *_, last = [mark.what for mark in lane.marks]
        assert (first, last) == ("arm", "end")
    timeline = Scenario("pipe", "arm in, close, close, close own").run().timeline()
    assert [text.split("\n")[0] for _, text in timeline.ticks] == ["arm in", "close", "close: EBADF", "close own"]
    assert timeline.lanes[1].marks[-1] == (3.0, "end", "gone")
