#!/usr/bin/env python3
"""Runs every block of code in README.md and docs/, checks the links, and builds the pages; reports in TAP.

    tests/docs/run.py [PAGE...]      # only these pages' blocks and links; everything must be built

A block of python, lua, c or console is a program: it runs in an empty directory, without input, against what is in
build/, and has to end by itself within ten seconds with status 0. (C is compiled first; of console the lines with "$ "
are run by sh -e.) A comment on the line before the block says otherwise; several lines, several comments:

    <!-- continues -->          it belongs to the page's last block of that language: they are one program
    <!-- output -->             a block of text: what the program before it prints; "..." stands for anything. Before a
                                console: the lines without "$ " are what it prints
    <!-- with: FILE -->         FILE of tests/docs/ stands before the program
    <!-- needs: NAME -->        skipped where there is no such module (for C: none that pkg-config knows; for a console:
                                no such program), or io_uring is refused: needs: io_uring
    <!-- fails: TEXT -->        it has to fail, and to say TEXT
    <!-- not run: REASON -->    it is only shown

Blocks of what is no program (text, json, ...) are only shown. wrong.md has a mistake of each kind, which must be found.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build"
LUA = os.environ.get("LUA", "lua5.4")
SECONDS = 10 * float(os.environ.get("TEST_PATIENCE") or 1)
SHOWN = {"text", "json", "yaml", "toml", "ini", "diff", "make"}
COMMENT = re.compile(r"<!-- (continues|output|with|needs|fails|not run|wrong)(?:: (.*))? -->")


class Wrong(Exception):
    """What is wrong with a page or a program."""


class Program:
    """Blocks that are run as one."""

    def __init__(self, page, line, language):
        self.page, self.line, self.language = page, line, language
        self.parts, self.expected, self.said = [], [], {}

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line} {self.language or 'without a language'}"

    def text(self):
        first = [(HERE / name).read_text() for name in self.said.get("with", ())]
        return "\n".join([*first, *self.parts])


def blocks(page):
    """Yields of each fenced block the number of its first line, its language, its text and the comments before it."""
    comments, lines = [], iter(enumerate(page.read_text().split("\n"), 1))
    for number, line in lines:
        fence = re.match(r"( *)(`{3,})([^`]*)$", line)
        if fence:
            indent, closing, inside = len(fence[1]), fence[2], []
            for _, line in lines:
                if line.strip() == closing:
                    break
                inside.append(line[indent:])
            yield number, fence[3].strip(), "\n".join(inside), comments
        comments = [*comments, line.strip()] if line.lstrip().startswith("<!--") else []


def said_by(comments):
    said = {}
    for comment in comments:
        found = COMMENT.fullmatch(comment)
        if not found:
            raise Wrong(f"what is {comment}?")
        said.setdefault(found[1], []).append(found[2] or "")
    return said


def programs(page):
    """The page's programs, and in their order what is wrong with a block: (program, None or what is wrong)."""
    found, last = [], {}
    for number, language, text, comments in blocks(page):
        if language.startswith("{"):  # a directive of Sphinx
            continue
        program = Program(page, number, language)
        try:
            said = said_by(comments)
            missing = [name for name in said.get("with", ()) if not (HERE / name).exists()]
            if missing:
                raise Wrong(f"there is no tests/docs/{missing[0]}")
            if "output" in said and language != "console":
                if not found:
                    raise Wrong("no program before this output")
                found[-1][0].expected.append(text)
                continue
            if language in SHOWN:
                continue
            if language not in RUNNERS and "not run" not in said:
                raise Wrong(f"a block of {language!r} can't be run; make it one of {', '.join(RUNNERS)}, "
                            "or say why not: <!-- not run: REASON -->")
            if "continues" in said:
                if language not in last:
                    raise Wrong("no block to continue")
                program = last[language]
            else:
                found.append((program, None))
            program.parts.append(text)
            for name, arguments in said.items():
                program.said.setdefault(name, []).extend(arguments)
            last[language] = program
        except Wrong as error:
            program.said.setdefault("wrong", []).extend(
                match[2] for match in map(COMMENT.fullmatch, comments) if match and match[1] == "wrong")
            found.append((program, str(error)))
    return found


# ---- running ----


def python_command(program, path, folder):
    path.write_text(program.text())
    return [sys.executable, path]


def lua_command(program, path, folder):
    path.write_text(program.text())
    return [LUA, path]


def flags(*packages, static=False):
    command = ["pkg-config", *(["--static"] if static else []), "--cflags", "--libs", *packages]
    return shlex.split(subprocess.check_output(command, text=True))


def c_command(program, path, folder):
    path = path.with_suffix(".c")
    path.write_text(program.text())
    libraries = [BUILD / "libpollring.a", *flags("liburing", *program.said.get("needs", ()))]
    if "pollring_lua.h" in program.text():
        libraries = [BUILD / "libpollring_lua.a", *libraries, *flags(LUA), "-lm", "-ldl"]
    executable = path.with_suffix("")
    command = [os.environ.get("CC", "cc"), "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{ROOT}/core",
               f"-I{ROOT}/bindings/lua", path, *libraries, "-o", executable]
    status, output = execute(command, folder, {})
    if status:
        raise Wrong(f"it doesn't compile:\n{output}")
    return [executable]


def console_command(program, path, folder):
    first = [(HERE / name).read_text() for name in program.said.get("with", ())]
    lines = [line[2:] for part in program.parts for line in part.split("\n") if re.match(r"[$>] ", line)]
    path.write_text("\n".join([*first, *lines]) + "\n")
    return ["sh", "-e", path]


RUNNERS = {"python": python_command, "lua": lua_command, "c": c_command, "console": console_command}


def execute(command, folder, environment, seconds=SECONDS * 3):
    """Status and output. What it leaves running is killed."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(list(map(str, command)), cwd=folder, env={**os.environ, **environment},
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        output.seek(0)
        return status, output.read().decode(errors="replace")


def lacking(program):
    """Why it can't be run here, or None."""
    if "not run" in program.said:
        return program.said["not run"][0]
    for name in program.said.get("needs", ()):
        if name == "io_uring":
            tried = [sys.executable, "-c", "import pollring, sys; sys.exit(pollring.probe()['io_uring'] != 0)"]
            if subprocess.run(tried, env={**os.environ, "PYTHONPATH": f"{BUILD}/python"}).returncode:
                return "io_uring is refused"
            continue
        tried = {"python": [sys.executable, "-c", f"import {name}"], "lua": [LUA, "-e", f"require '{name}'"],
                 "c": ["pkg-config", "--exists", name]}.get(program.language, ["sh", "-c", f"command -v {name}"])
        if subprocess.run(tried, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode:
            return f"{name} is not installed"
    return None


def matches(expected, output):
    """As doctest's ELLIPSIS; spaces at the ends of lines don't count."""
    def plain(text):
        return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))

    pattern = ".*".join(map(re.escape, plain(expected).split("...")))
    return re.fullmatch(pattern, plain(output), re.DOTALL)


def run(program, tools, seconds=SECONDS):
    """Raises Wrong."""
    with tempfile.TemporaryDirectory(prefix="pollring-docs-") as scratch:
        folder = Path(scratch, "empty")
        folder.mkdir()
        command = RUNNERS[program.language](program, Path(scratch, "program"), folder)
        status, output = execute(command, folder, {
            "PYTHONPATH": f"{BUILD}/python", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1",
            "LUA_PATH_5_4": f"{ROOT}/lua/?.lua;;", "LUA_CPATH_5_4": f"{BUILD}/lua/?.so;;", "NO_COLOR": "1",
            "PATH": f"{tools}:{os.environ['PATH']}"}, seconds)
    if status is None:
        raise Wrong(f"not ended after {seconds:.0f} seconds:\n{output}")
    fails = program.said.get("fails")
    if status and not fails:
        raise Wrong(f"exit status {status}:\n{output}")
    if fails and not status:
        raise Wrong("it doesn't fail")
    if fails and fails[0] not in output:
        raise Wrong(f"it fails, but doesn't say {fails[0]!r}:\n{output}")
    expected = list(program.expected)
    if program.language == "console" and "output" in program.said:
        expected += ["\n".join(line for line in part.split("\n") if not re.match(r"[$>] ", line))
                     for part in program.parts]
    if expected and not matches("\n".join(expected), output):
        raise Wrong("it prints something else:\n" + output)


def make_tools(folder):
    """What a console finds on PATH: `pollring`, and the Python that everything is built for."""
    for name, arguments in {"pollring": "-m pollring", "python3": ""}.items():
        path = Path(folder, name)
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        path.chmod(0o755)


# ---- links ----


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    seen = {}
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()).replace(" ", "-")
        seen[slug] = seen.get(slug, -1) + 1
        yield f"{slug}-{seen[slug]}" if seen[slug] else slug


def check_links(page):
    """Raises Wrong for the relative links that lead nowhere."""
    text = re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = (page.parent / path).resolve() if path else page
        if not there.exists():
            wrong.append(f"{target}: there is no such file")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            wrong.append(f"{target}: it has no such heading")
    if wrong:
        raise Wrong("\n".join(wrong))


# ---- the pages, built ----


def make_docs():
    """Raises Wrong; returns why it was skipped, or None."""
    if subprocess.run([sys.executable, "-c", "import sphinx, myst_parser, furo"], stderr=subprocess.DEVNULL).returncode:
        return "Sphinx, myst_parser or furo is not installed"
    status, output = execute(["make", "-s", "-C", ROOT, "docs", f"PYTHON={sys.executable}"], ROOT, {}, SECONDS * 20)
    if status != 0:
        raise Wrong(output)
    return None


def check_names():
    """That the reference has an entry for each public name of the headers, the package and the annotations."""
    inventory = BUILD / "docs/objects.inv"
    if not inventory.exists():
        return "it was not built"
    entries = zlib.decompress(inventory.read_bytes().split(b"\n", 4)[4]).decode()
    entries = {(found[2], found[1] if found[2] == "py" else re.split("[.:]", found[1])[-1]) for found in
               re.finditer(r"^(\S+) (c|py|std):(?!doc|label)", entries, re.MULTILINE)}
    names = set()
    for header in ("core/pollring.h", "bindings/lua/pollring_lua.h"):
        code = re.sub(r"/\*.*?\*/|^#ifndef[^\n]*\n[^\n]*", "", (ROOT / header).read_text(), flags=re.DOTALL | re.MULTILINE)
        names |= {("c", name) for name in re.findall(r"\b(?:pollring|luaopen|POLLRING)_\w+", code)}
    for meta in sorted((ROOT / "lua/meta").rglob("*.lua")):
        names |= {("std", name) for name in re.findall(
            r"^(?:---@(?:class|alias|field) |function \w+)(?:\w*[.:])*(\w+)", meta.read_text(), re.MULTILINE)}
    for module in ("pollring", "pollring.lab"):
        told = subprocess.check_output([sys.executable, "-c", f"import {module}; print(*{module}.__all__)"], text=True,
                                       env={**os.environ, "PYTHONPATH": f"{BUILD}/python"})
        names |= {("py", f"{module}.{name}") for name in told.split()}
    if names - entries:
        raise Wrong("without an entry: " + ", ".join(sorted(name for _, name in names - entries)))
    return None


def check_manual():
    """That groff has nothing to say of the manual pages, and that none is empty."""
    if not shutil.which("groff"):
        return "groff is not installed"
    for section, word in (("1", "--no-drain"), ("3", "pollring_poll_add_to"), ("7", "Read until EAGAIN")):
        path = BUILD / f"man/pollring.{section}"
        if not path.exists():
            return "they were not built"
        done = subprocess.run(["groff", "-Kutf8", "-t", "-man", "-Tutf8", "-ww", "-rLL=90n", path],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        text = " ".join(re.sub("\x1b\\[[0-9;]*m|.\b", "", done.stdout).split())
        if done.stderr or word not in text:
            raise Wrong(done.stderr or f"pollring({section}) has no {word!r}")
    return None


# ---- all of it ----


def result_of(check, *arguments):
    """("ok", None), ("skip", why) or ("not ok", what is wrong)."""
    try:
        why = check(*arguments)
        return ("skip", why) if why else ("ok", None)
    except Wrong as wrong:
        return "not ok", str(wrong)


def check_program(program, wrong, tools):
    if wrong:
        raise Wrong(wrong)
    why = lacking(program)
    if not why:
        run(program, tools)
    return why


def check_mistake(program, wrong, tools):
    """Of wrong.md: that the mistake is found."""
    (told,) = program.said.pop("wrong")
    try:
        if wrong:
            raise Wrong(wrong)
        run(program, tools, seconds=2 if told.startswith("not ended") else SECONDS)
    except Wrong as found:
        if told not in str(found):
            raise Wrong(f"found was {found}") from None
    else:
        raise Wrong(f"not found: {told}")


def check_wrong_links():
    try:
        check_links(HERE / "wrong.md")
    except Wrong as found:
        if str(found).count("\n") == 1 and "no such file" in str(found) and "no such heading" in str(found):
            return
        raise
    raise Wrong("not found")


def main(names):
    pages = [Path(name).resolve() for name in names] or [
        *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    with tempfile.TemporaryDirectory(prefix="pollring-docs-") as tools:
        make_tools(tools)
        tests = [] if names else [("the pages are built without a warning", make_docs)]
        for page in pages:
            tests += [(f"{page.relative_to(ROOT)}: links", check_links, page)]
            tests += [(str(program), check_program, program, wrong, tools) for program, wrong in programs(page)]
        if not names:
            tests += [(f"mistake: {program}", check_mistake, program, wrong, tools)
                      for program, wrong in programs(HERE / "wrong.md")]
            tests += [("mistake: links", check_wrong_links)]
        with ThreadPoolExecutor(4) as pool:
            results = list(zip(tests, pool.map(lambda test: result_of(*test[1:]), tests)))
    if not names:  # what needs the pages
        results += [(("the reference has every name",), result_of(check_names)),
                    (("the manual pages can be formatted",), result_of(check_manual))]
    print(f"1..{len(results)}")
    for number, ((name, *_), (outcome, told)) in enumerate(results, 1):
        if outcome == "not ok":
            print("# " + told.rstrip().replace("\n", "\n# "))
        print(f"{'not ok' if outcome == 'not ok' else 'ok'} {number} - {name}"
              f"{f' # SKIP {told}' if outcome == 'skip' else ''}")
    return any(outcome == "not ok" for _, (outcome, _) in results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
