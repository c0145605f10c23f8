"""What keeps the project itself in order: the Makefile explains its targets, the version is one, and what pages
and workflows call is there."""

import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import release_check  # noqa: E402

MAKEFILE = (ROOT / "Makefile").read_text()
EXPLAINED = set(re.findall(r"^([a-z-]+):[^#\n]*## \S", MAKEFILE, re.MULTILINE))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob(".github/*.md")])
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))


def test_make_help_explains_every_target():
    """But those for the Makefile itself, whose .PHONY says in a comment what they are for."""
    rules = re.findall(r"^([a-z][a-z -]*):(?!=)", MAKEFILE, re.MULTILINE)
    explained_elsewhere = re.findall(r"^\.PHONY:(.*)# \S", MAKEFILE, re.MULTILINE)
    assert len(EXPLAINED) > 30
    assert not set(" ".join(rules).split()) - EXPLAINED - set(" ".join(explained_elsewhere).split())


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="no checkout, or no git to list it")
def test_one_version_is_named_everywhere():
    assert not [*release_check.version_mistakes()]


def test_what_was_built_has_that_version():
    assert not [*release_check.built_mistakes()]


@pytest.mark.parametrize("page", [*WORKFLOWS, *PAGES], ids=lambda page: page.name)
def test_targets_that_a_page_or_workflow_names_are_there(page):
    text = page.read_text()
    code = re.sub("#.*", "", text) if page.suffix == ".yml" else "\n".join(
        re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))
    code = re.sub("luarocks .*|apt-get install .*", "", code)  # another make
    commands = set(re.findall(r'\bmake (?:-\S+ |[A-Z]+=(?:"[^"]*"|\S+) )*([a-z][a-z-]*)', code))
    assert not commands - EXPLAINED
    assert not set(re.findall(r"\./bootstrap ([a-z]+)", code)) - set(
        re.findall(r"^([a-z]+)\)$", (ROOT / "bootstrap").read_text(), re.MULTILINE))
