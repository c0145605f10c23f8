"""What keeps the project itself in order: the Makefile explains its targets, the version is one, and what pages
and workflows call is there."""

import re
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


def test_make_help_explains_every_target_for_people():
    """Those for the Makefile itself have a .PHONY line of their own, which says in a comment what they are for."""
    lines = re.findall(r"^\.PHONY:((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    for_people = {target for line in lines if "#" not in line for target in re.findall(r"(?<!\S)[a-z][a-z-]*", line)}
    assert len(for_people) > 30
    assert not for_people - EXPLAINED
    assert not EXPLAINED - for_people - set(re.findall(r"^INSTRUMENTED := (.*)$", MAKEFILE, re.MULTILINE)[0].split())


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout")
def test_one_version_is_named_everywhere():
    assert not [*release_check.version_mistakes(), *release_check.built_mistakes()]


@pytest.mark.parametrize("page", [*WORKFLOWS, *PAGES], ids=lambda page: page.name)
def test_targets_that_a_page_or_workflow_names_are_there(page):
    text = page.read_text()
    code = re.sub("#.*", "", text) if page.suffix == ".yml" else "\n".join(
        re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))
    code = re.sub("luarocks .*", "", code)  # has a make of its own
    commands = set(re.findall(r'\bmake (?:-\S+ |[A-Z]+=(?:"[^"]*"|\S+) )*([a-z][a-z-]*)', code))
    assert not commands - EXPLAINED
    assert not set(re.findall(r"\./bootstrap ([a-z]+)", code)) - set(
        re.findall(r"^([a-z]+)\)$", (ROOT / "bootstrap").read_text(), re.MULTILINE))
