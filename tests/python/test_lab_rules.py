"""`pollring rules`: every rule with its verdict, what differs in detail, and several kernels side by side."""

import json
import re
import subprocess
import sys

import pytest

from command import REFUSE, SECONDS, Terminal, argv, run
from pollring import _rules
from pollring.lab import Mistake, rules


def outcome(name="rule", setup="plain", verdict="ok", seen="poll: POLLIN", expected="poll: POLLIN"):
    return {"group": "request", "name": name, "rule": f"The {name} in words.", "source": "kernel", "setup": setup,
            "verdict": verdict, "expected": expected, "seen": seen}


@pytest.fixture
def tried(monkeypatch, capsys):
    """Runs the command where the trials have these outcomes. Yields a function to its exit status and output."""
    def with_outcomes(*outcomes, verbose=False, as_json=False, compare=None):
        monkeypatch.setattr(_rules, "count", lambda: len(outcomes))
        monkeypatch.setattr(_rules, "run", lambda number: json.dumps(outcomes[number]))
        arguments = type("Arguments", (), {"json": as_json, "verbose": verbose, "compare": compare})
        return rules.run(arguments), capsys.readouterr().out

    return with_outcomes


@pytest.fixture
def saved(tmp_path):
    """Writes what --json prints on a kernel; returns the file's name."""
    def save(kernel, *outcomes):
        (tmp_path / kernel).write_text(json.dumps({"kernel": kernel, "rules": outcomes}))
        return str(tmp_path / kernel)

    return save


def test_every_rule_is_tried_on_this_kernel():
    done = run("rules", "--json")
    found = json.loads(done.stdout)
    verdicts = {each["verdict"] for each in found["rules"]}
    assert found["kernel"] and len(found["rules"]) == _rules.count() > 200
    assert all(outcome().keys() == each.keys() for each in found["rules"])
    assert done.returncode == (1 if "differs" in verdicts else 0 if "ok" in verdicts else 3), done.stderr
    assert not {each["name"] for each in found["rules"] if each["verdict"] == "differs"}


def test_a_number_that_is_no_trial():
    with pytest.raises(IndexError):
        _rules.run(_rules.count())
    with pytest.raises(OverflowError):
        _rules.run(-1)


def test_where_io_uring_is_refused_nothing_is_ok():
    done = run("rules", refused=True)
    assert done.returncode == 3
    assert re.search(r"^\d+ skipped$", done.stdout, re.MULTILINE)
    assert "on plain: io_uring_setup: EPERM" in done.stdout
    assert "multishot poll but the last, which a cancel or an error brings. " in done.stdout  # a line in a pipe


@pytest.mark.parametrize("fds", [6, 12])
def test_rules_that_a_limit_keeps_from_being_tried_are_skipped(fds):
    done = subprocess.run([sys.executable, REFUSE, "--fds", str(fds), *argv("rules")],
                          stdout=subprocess.PIPE, text=True, timeout=SECONDS)
    assert done.returncode in (0, 3) and ": Too many open files" in done.stdout, done.stdout


def test_a_rule_a_line_in_groups(tried):
    status, text = tried(outcome(), outcome(setup="DEFER_TASKRUN"), outcome("other"))
    assert status == 0
    assert text.splitlines()[1:4] == ["request", "  The rule in words.   ok", "  The other in words.  ok"]
    assert text.endswith("\n2 ok\n")


def test_a_difference_is_explained_and_fails(tried):
    status, text = tried(outcome(), outcome(setup="DEFER_TASKRUN", verdict="differs", seen="silence"))
    assert status == 1
    assert "  The rule in words.   ≠ differs\n" in text
    assert text.endswith("\nThe rule in words.\n  rule; kernel\n  on DEFER_TASKRUN\n    expected  poll: POLLIN\n"
                         "    seen      silence\n\n1 differs\n")


def test_what_was_skipped_is_summed_up(tried):
    missing = {"setup": "DEFER_TASKRUN", "verdict": "skipped", "expected": "", "seen": "io_uring_setup: EINVAL"}
    status, text = tried(outcome(), outcome(**missing), outcome("other", **missing))
    assert status == 0
    assert text.endswith("\n1 ok, 1 skipped\nskipped 2 on DEFER_TASKRUN: io_uring_setup: EINVAL\n")


def test_verbose_explains_each(tried):
    _, text = tried(outcome(), outcome(setup="COOP_TASKRUN"), outcome("other", seen="as well"), verbose=True)
    assert "  on plain, COOP_TASKRUN\n    expected  poll: POLLIN\n    seen      poll: POLLIN\n" in text
    assert "    seen      as well\n" in text


def test_kernels_that_agree(tried, saved):
    status, text = tried(compare=[saved("6.1", outcome()), saved("6.12", outcome())])
    assert status == 0 and "≠" not in text and text.endswith("\n1 rules alike, 0 different\n")
    assert text.splitlines()[0].split("  ")[-2:] == ["Linux 6.1", "Linux 6.12"]


def test_kernels_that_differ(tried, saved):
    status, text = tried(compare=[saved("6.1", outcome(), outcome("other", seen="silence")),
                                  saved("6.12", outcome(verdict="differs", seen="none"), outcome("other"))])
    assert status == 1
    assert "  The rule in words.   ≠ ok       ≠ differs" in text  # another verdict
    assert "  The other in words.  ≠ ok       ≠ ok" in text  # both are right, and it is not the same
    assert "The rule in words.\n  on plain\n    6.1  ok: poll: POLLIN\n    6.12  differs: none\n" in text
    assert "The other in words.\n  on plain\n    6.1  ok: silence\n    6.12  ok: poll: POLLIN\n" in text


def test_a_setup_that_a_kernel_lacks_is_told_and_no_difference(tried, saved):
    missing = outcome(setup="DEFER_TASKRUN", verdict="skipped", seen="io_uring_setup: EINVAL", expected="")
    own = dict(missing, name="own", rule="Its own.")
    status, text = tried(compare=[
        saved("5.10", outcome(), missing, own),
        saved("6.1", outcome(), outcome(setup="DEFER_TASKRUN"), dict(own, verdict="ok", seen="silence"))])
    assert status == 0
    assert "  Its own.            -           ok" in text
    assert text.endswith("\n2 rules alike, 0 different\nLinux 5.10 has no DEFER_TASKRUN: io_uring_setup: EINVAL\n")


def test_a_rule_that_was_skipped_for_itself_is_a_difference(tried, saved):
    skipped = outcome("other", verdict="skipped", seen="no MSG_RING", expected="")
    status, text = tried(compare=[saved("5.10", outcome(), skipped), saved("6.1", outcome(), outcome("other"))])
    assert status == 1
    assert "  The other in words.  ≠ skipped   ≠ ok" in text
    assert "  on plain\n    5.10  skipped: no MSG_RING\n    6.1  ok: poll: POLLIN\n" in text


def test_only_the_setups_that_differ_are_shown(tried, saved):
    defer = {"setup": "DEFER_TASKRUN"}
    _, text = tried(compare=[saved("6.1", outcome(), outcome(**defer)),
                             saved("6.12", outcome(), outcome(**defer, seen="silence"))])
    assert "  on DEFER_TASKRUN\n" in text and "plain" not in text


def test_a_rule_that_one_run_does_not_know(tried, saved):
    status, text = tried(compare=[saved("6.1", outcome()), saved("6.12", outcome(), outcome("new"))])
    assert status == 0
    assert "  The new in words.   -          ok" in text


def test_one_file_is_compared_with_this_kernel(tried, saved):
    status, text = tried(outcome(seen="silence"), compare=[saved("6.1", outcome())])
    assert status == 1
    assert "6.1  ok: poll: POLLIN\n" in text and "  ok: silence\n" in text


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kernel": "6.1"}', '{"kernel": "6.1", "rules": [{}]}',
                                     '{"kernel": "6.1", "rules": [1]}', '{"kernel": "6.1", "rules": {"a": "b"}}',
                                     json.dumps({"kernel": "6.1", "rules": [dict(outcome(), seen=None)]}), "\xff"])
def test_a_file_that_is_something_else(tmp_path, content):
    file = tmp_path / "run.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(Mistake, match="run.json is not what `pollring rules --json` prints"):
        rules.load(str(file))


def test_a_mistake_is_answered_with_what_is_right():
    done = run("rules", "--compare", "/dev/null")
    assert done.returncode == 2
    assert "/dev/null is not what" in done.stderr and "pollring rules --json > here.json" in done.stderr


def test_a_file_that_is_not_there():
    done = run("rules", "--compare", "/nonexistent")
    assert done.returncode == 1 and "/nonexistent: No such file or directory" in done.stderr


@pytest.mark.parametrize("without", [(), ("rich",)])
def test_on_a_terminal_the_sentences_are_wrapped(without):
    with Terminal("rules", without=without) as terminal:
        assert terminal.finish() in (0, 1, 3)
        lines = terminal.plain.splitlines()
    first = next(line for line in lines if "IORING_CQE_F_MORE is set on every CQE" in line)
    assert "brings." not in first and first.split()[-1] in ("ok", "skipped")
    assert lines[lines.index(first) + 1].startswith("    ")
    assert max(map(len, lines[lines.index(first):])) <= 100
