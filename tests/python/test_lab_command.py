"""The command `pollring`: what each sub-command prints, in a pipe and in a terminal, and its exit statuses."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

import pollring
from command import REFUSE, SECONDS, Terminal, argv, run
from pollring.lab.cli import main, make_parser
from pollring.lab.interfaces import INTERFACES
from pollring.lab.kinds import KINDS
from pollring.lab.scenario import VERBS

io_uring = pytest.mark.skipif(pollring.probe()["io_uring"] != 0, reason="io_uring is refused here")
WORKS = 0 if pollring.probe()["io_uring"] == 0 else 3
ROOT = Path(__file__).parent.parent.parent


def parsers():
    """The parser of each sub-command, by its name."""
    (commands,) = (action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices


COMMANDS = list(parsers())


# ---- what each prints ----


def test_probe_tells_what_the_library_does():
    done = run("probe", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == WORKS
    assert {key: found[key] for key in pollring.probe()} == pollring.probe()
    assert found["backend"] in ("io_uring", "epoll") and found["cq_entries"]
    lines = run("probe").stdout
    assert found["kernel"] in lines and ("io_uring                  works" in lines) == (WORKS == 0)
    assert all(sentence in lines for sentence in found["lacks"])


def test_probe_tells_what_pollring_does_instead():
    command = [sys.executable, REFUSE, "--pwait2", "ENOSYS", *argv("probe")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=SECONDS)
    assert done.returncode == WORKS
    assert re.search(r"(?m)^(lacks, and instead)? +epoll_pwait2\(\) .*milliseconds$", done.stdout)


def test_probe_where_io_uring_is_refused():
    done = run("probe", "--json", refused=True)
    found = json.loads(done.stdout)
    assert done.returncode == 3 and (found["io_uring"], found["backend"]) == (-1, "epoll")
    done = run("probe", refused=True)
    assert done.returncode == 3 and "seccomp, at io_uring_setup" in done.stdout and found["message"] in done.stdout


@io_uring
def test_try_prints_a_table_and_marks_differences():
    done = run("try", "pipe", "arm in, write 3, read 1, close")
    assert done.returncode == 0 and done.stderr == ""
    head, *rows = [re.split(" {2,}", line.strip()) for line in done.stdout.splitlines()]
    assert head == list(INTERFACES)
    assert rows[1] == ["write 3", "IN", "IN", "IN", "IN end", "IN more"]
    assert rows[2] == ["read 1", "IN", "IN", "≠ -", "ended", "≠ -"]
    assert rows[4] == [""] and [row[0] for row in rows[5:]] == ["more", "end", "ended", "-", "≠"]


def test_try_tells_why_a_step_failed():
    lines = run("try", "pipe", "arm in, close, write, close").stdout.splitlines()
    assert re.match(r"write 1 +EBADF, HUP", lines[3])
    assert lines[-1] == "EBADF  write 1, close failed: Bad file descriptor: that end is closed"
    lines = run("try", "file", "arm in").stdout.splitlines()
    assert lines[-1].split(None, 1) == ["EPERM", "arm in failed: Operation not permitted: epoll takes no such file"]


def test_try_prints_json():
    outcome = json.loads(run("try", "tcp", "arm in|out, write", "--json").stdout)
    assert {key: type(value) for key, value in outcome.items()} == {
        "pollring_scenario": int, "kind": str, "steps": list, "kernel": str, "absent": dict, "outcome": list}
    assert outcome["steps"] == ["arm in|out", "write 1"]
    assert outcome["outcome"][1]["poll(2)"] == {
        "error": None, "ended": False, "reports": [{"events": "IN|OUT", "mask": 5, "more": None}]}


def test_try_draws(tmp_path):
    svg, page = tmp_path / "a.svg", tmp_path / "a.html"
    done = run("try", "pipe", "arm,write", "--timeline", "--svg", str(svg), "--html", str(page))
    assert done.returncode == WORKS and "├" in done.stdout and "write 1" in done.stdout
    ElementTree.fromstring(svg.read_text())
    assert "<svg" in page.read_text()


def test_a_saved_scenario_is_a_regression_test(tmp_path):
    path = str(tmp_path / "saved.json")
    assert run("try", "fifo", "arm in, write 3, read 1, close, reopen, write", "--save", path).returncode == WORKS
    again = run("try", path)
    assert again.returncode == WORKS and (WORKS or again.stderr == "as saved\n")

    saved = json.loads(Path(path).read_text())
    saved["outcome"][1]["epoll edge"]["reports"] = []
    Path(path).write_text(json.dumps(saved))
    again = run("try", path, "--save", path)  # it replaces what it saved
    assert again.returncode == 1
    assert "differs: step 2, write 3: epoll edge said nothing, now IN\n" in again.stderr
    assert run("try", path).returncode == WORKS


def test_a_saved_scenario_where_io_uring_is_refused(tmp_path):
    """What could be run is as saved; that the rest was not is told, and is no success."""
    path = str(tmp_path / "saved.json")
    run("try", "pipe", "arm in, write", "--save", path)
    again = run("try", path, refused=True)
    assert again.returncode == 3 and "POLL_ADD once, POLL_ADD multishot: " in again.stderr
    assert again.stdout.splitlines()[2].split() == ["write", "1", "IN", "IN", "IN", "refused", "refused"]


def test_table_has_every_kind_and_every_situation():
    rows = json.loads(run("table", "--json").stdout)
    assert {row["kind"] for row in rows} == set(KINDS)
    assert {row["situation"] for row in rows} == {
        "armed when ready", "written", "written twice", "partly read", "read before asked", "peer half-closed",
        "peer gone", "error"}
    assert all(row["reports"]["poll(2)"]["error"] is None and row["steps"] for row in rows)
    by_name = {(row["kind"], row["situation"]): row["reports"]["epoll edge"]["reports"] for row in rows}
    assert by_name["pipe", "partly read"] == [] and by_name["tcp", "error"][0]["events"] == "IN|ERR|HUP"


def test_table_can_be_restricted():
    done = run("table", "null", "eventfd")
    assert done.returncode == WORKS
    kinds = [line.split()[0] for line in done.stdout.splitlines()]
    assert kinds == ["kind"] + ["null"] * 5 + ["eventfd"] * 5
    assert done.stdout.count("≠ EPERM") == 2 * 5  # of all that come after arming, too


def test_the_page_of_the_table_stands_alone(tmp_path):
    path = tmp_path / "table.html"
    done = run("table", "pipe", "file", "--html", str(path))
    page = path.read_text()
    assert done.returncode == WORKS and done.stdout == ""
    assert not re.search(r"(src|href)=[\"'](?!#)|url\(|@import|<script", page)
    assert "multishot" in page and 'name="viewport"' in page and "≠ EPERM" in page
    ElementTree.fromstring(re.search("<svg.*</svg>", page, re.DOTALL)[0])


def test_bench_measures_both(tmp_path):
    path = tmp_path / "bench.svg"
    figures = json.loads(run("bench", "--json", "--for", "20ms", "--svg", str(path)).stdout)["figures"]
    assert [figure["files"] for figure in figures][:2] == [1, 10]
    for figure in figures:
        assert len(figure["nanoseconds"]) == 2 and all(value > 0 for value in figure["nanoseconds"].values())
    ElementTree.fromstring(path.read_text())


def test_bench_leaves_out_what_needs_too_many_files():
    done = subprocess.run([sys.executable, REFUSE, "--fds", "400", *argv("bench", "--for", "20ms")],
                          stdout=subprocess.PIPE, text=True, timeout=SECONDS)
    assert "█" in done.stdout and "more than 400 files are left out" in done.stdout


# ---- in a terminal ----


@pytest.mark.parametrize("rich", [True, False])
@pytest.mark.parametrize("arguments, shown", [
    (["probe"], "kernel +[0-9]"),
    (["try", "pipe", "arm in, write, read 1", "--timeline"], "write 1 +IN +IN +IN"),
    (["table", "null"], "armed when ready +IN +≠ EPERM"),
    (["bench", "--for", "20ms"], "select.epoll +█"),
])
def test_in_a_terminal(arguments, shown, rich):
    if rich:
        pytest.importorskip("rich")
    with Terminal(*arguments, without=() if rich else ["rich"]) as terminal:
        assert terminal.finish() == (0 if arguments[0] == "bench" else WORKS)
        assert re.search(shown, terminal.plain), terminal.text
        assert ("\x1b[" in terminal.text) == rich
        assert "Traceback" not in terminal.text


def test_what_takes_long_shows_a_bar():
    pytest.importorskip("rich")
    with Terminal("try", "pipe", "arm in, sleep 500ms") as terminal:
        terminal.wait_for("running")
        assert terminal.finish() == WORKS


def test_ctrl_c_in_a_terminal():
    with Terminal("try", "pipe", "arm in, sleep 50s", without=["rich"]) as terminal:
        while not re.search("nanosleep|poll_schedule", Path(f"/proc/{terminal.process.pid}/wchan").read_text()):
            time.sleep(0.001)
        terminal.type("\x03")
        assert terminal.finish() == 130
        assert "Traceback" not in terminal.text


# ---- mistakes ----


@pytest.mark.parametrize("arguments, wrong, right", [
    ([], "required: COMMAND", "pollring probe"),
    (["--verson"], "what is '--verson'?", "pollring probe"),
    (["-V"], "what is '-V'?", "pollring probe"),
    (["jump"], "invalid choice: 'jump'", "pollring probe"),
    (["probe", "now"], "what is 'now'", "pollring probe"),
    (["probe", "--", "ls"], "nothing may follow --", "pollring probe"),
    (["try"], "required: KIND", "pollring try pipe"),
    (["try", "--frob"], "what is '--frob'?", "pollring try pipe"),
    (["try", "pip"], "'pip' is neither a kind of file", "pollring try pipe"),
    (["try", "/"], "'/' is neither a kind of file", "pollring try pipe"),
    (["try", "pip", "arm"], "'pip' is no kind of file", "pollring try pipe 'arm in,"),
    (["try", "pipe"], "pipe needs steps", "pollring try pipe 'arm in, write 3'"),
    (["try", "pipe", "jump"], "'jump' is no step", "pollring try pipe 'arm in, write 3"),
    (["try", "tcp", "arm inn"], "'inn' is no poll event", "pollring try tcp 'arm in|rdhup'"),
    (["try", "tcp", "sleep 2h"], "'2h' is no duration", "pollring try tcp 'arm in, sleep 10ms'"),
    (["try", "pipe", "shutdown"], "it has write, read, close, close own, arm, update, recheck, remove, collect, sleep",
     "pollring try pipe 'arm in, write'"),
    (["rules", "--compare", "a", "--json"], "not allowed with", "pollring rules --json"),
    (["bench", "--for", "long"], "'long' is no duration", "pollring bench --for 10ms"),
    (["try", "pipe", "arm in", "write"], "what is 'write'", "pollring try pipe"),
    (["try", "/etc/passwd"], "/etc/passwd is no saved scenario", "--save pipe.json"),
    (["try", "pipe", "arm in", "--save", __file__], "--save replaces saved scenarios only", "--save pipe.json"),
    (["table", "pip"], "'pip' is no kind of file", "pollring table pipe"),
    (["bench", "--svg"], "expected one argument", "pollring bench"),
    (["completion", "fish"], "invalid choice: 'fish'", "pollring completion bash"),
])
def test_mistakes_are_answered(arguments, wrong, right, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(list(arguments))
    out, err = capsys.readouterr()
    first, second, third = err.splitlines()
    assert out == ""
    command = " ".join(["pollring", *(word for word in arguments[:1] if word in COMMANDS)])
    assert wrong in first and first.startswith(f"{command}: ")
    assert second.startswith("Right is, for example: ") and right in second and "--help" in third


@pytest.mark.parametrize("arguments", [
    ["try", "pipe", "arm in", "--save", "/no/such/folder"], ["try", "pipe", "arm in", "--svg", "/no/such/folder"],
    ["table", "null", "--html", "/no/such/folder"], ["bench", "--svg", "/no/such/folder"],
])
def test_a_file_that_can_t_be_written_is_told_before_anything_is_run(arguments, capsys):
    assert main(arguments) == 1
    assert capsys.readouterr() == ("", f"pollring {arguments[0]}: /no/such/folder: No such file or directory\n")


def test_output_that_nobody_takes():
    r, w = os.pipe()
    os.close(r)
    for stdout, said in ((w, ""), (os.open("/dev/full", os.O_WRONLY), "pollring probe: No space left on device\n")):
        done = subprocess.run(argv("probe"), stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=SECONDS,
                              env={**os.environ, "PYTHONUNBUFFERED": ""})
        os.close(stdout)
        assert done.returncode == 1 and done.stderr == said
    assert subprocess.run(["sh", "-c", '"$@" >&-', "sh", *argv("probe")], timeout=SECONDS).returncode == WORKS


def test_a_terminal_that_is_not_in_unicode():
    done = run("try", "pipe", "arm in, write 3, read 1", "--timeline",
               env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == WORKS and done.stdout.isascii() and "|--" in done.stdout and "! -" in done.stdout


# ---- help, manual, completion ----


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_are_right(name):
    done = run(name, "--help")
    assert done.returncode == 0
    examples = re.findall(r"^  (pollring .*)", done.stdout, re.MULTILINE)
    assert examples and all(f"pollring {name}" in example for example in examples)
    statuses = re.findall(r"^  (\d+) ", done.stdout.split("Exit status:")[1], re.MULTILINE)
    assert statuses == ["0", "1", "2", *["3"] * (name in ("probe", "try", "rules", "table")), "130"]


def test_help_lists_all_commands():
    listed = run("--help").stdout
    assert all(re.search(rf"^    {name}\b", listed, re.MULTILINE) for name in COMMANDS)
    assert run("--version").stdout == f"pollring {pollring.__version__}\n"
    module = subprocess.run([sys.executable, "-m", "pollring", "--help"], stdout=subprocess.PIPE, text=True,
                            timeout=SECONDS)
    assert module.stdout == listed


def test_importing_the_library_imports_nothing_of_the_command():
    code = "import pollring, sys; print([name for name in sys.modules if 'pollring.lab' in name or 'argparse' in name])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_the_help_of_try_names_every_step_and_kind():
    text = run("try", "--help").stdout
    assert all(re.search(rf"^  {name}\b", text, re.MULTILINE) for name in [*VERBS, *KINDS])


def completed(line):
    """What the shell's function would be given: argcomplete writes it to fd 8."""
    pytest.importorskip("argcomplete")
    r, w = os.pipe()
    script = 'exec 8>&"$0"; exec "$@"'
    environment = {**os.environ, "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9",
                   "_ARGCOMPLETE_IFS": "\n", "IFS": "\n"}
    subprocess.run(["bash", "-c", script, str(w), *argv()], env=environment, pass_fds=[w], timeout=SECONDS)
    os.close(w)
    with open(r) as file:
        return [word.strip() for word in file.read().splitlines()]


@pytest.mark.parametrize("line, words", [
    ("pollring pr", {"probe"}),
    ("pollring ", set(COMMANDS)),
    ("pollring try pi", {"pipe", "pipe-writer", "pidfd"}),
    ("pollring try pipe --s", {"--save", "--svg"}),
    ("pollring watch -e rd", {"rdband", "rdhup", "rdnorm"}),
    ("pollring watch - ti", {"timer:"}),
    ("pollring watch --svg /etc/host", {"/etc/hostname", "/etc/hosts"}),
    ("pollring table tcp u", {"udp"}),
    ("pollring completion ", {"bash", "zsh"}),
])
def test_completion(line, words):
    assert words <= set(completed(line)), completed(line)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_takes_its_completion(shell):
    pytest.importorskip("argcomplete")
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    script = run("completion", shell).stdout
    check = {"bash": "complete -p pollring", "zsh": '[[ -n ${_comps[pollring]} ]] && print complete pollring'}[shell]
    done = subprocess.run([shell, *(["-f"] if shell == "zsh" else ["--norc"]), "-c", f"{script}\n{check}"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=SECONDS)
    assert done.stdout.startswith("complete ") and "pollring" in done.stdout, done.stderr


def test_completion_without_argcomplete_says_what_to_install():
    done = run("completion", "bash", without=["argcomplete"])
    assert done.returncode == 2 and "argcomplete is not installed" in done.stderr and "pollring[lab]" in done.stderr
