"""What the extensions share that make reStructuredText of a source file of ours."""

import re
import textwrap
from pathlib import Path

from docutils.nodes import Element
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

ROOT = Path(__file__).resolve().parent.parent.parent

# What is set as code in prose: errnos, POLL* bits, other names in capitals, calls.
_CODE = re.compile(r"-?\b(?:E[A-Z]{3,}|E?POLL[A-Z]{2,}|NULL|[A-Z0-9]+_[A-Z0-9_]*)\*?(?![\w])|\*?\b[\w.:]+\(\)")
_PAGE = re.compile(r"docs/(\w+)\.md")


def escaped(text):
    return re.sub(r"([\\*`|_<>])", r"\\\1", text)


def marked_up(text, names):
    """Prose of a comment as reStructuredText. *names*: from each name that has an entry of its own to the role and the
    target that lead there; a call is looked up without its parentheses."""
    words = sorted(map(re.escape, names), key=len, reverse=True)
    known = re.compile(rf"(?<![\w.:])(?:{'|'.join(words)})(?![\w*])(?:\(\))?" if words else r"(?!)")
    out, at = [], 0
    while at < len(text):
        found = min(filter(None, (pattern.search(text, at) for pattern in (known, _CODE, _PAGE))),
                    key=lambda match: match.start(), default=None)
        if not found:
            break
        out.append(escaped(text[at:found.start()]))
        name = found[0]
        if found.re is known:
            role, target = names[name[:-2] if name.endswith("()") else name]
            markup = f":{role}:`{name} <{target}>`"
        elif found.re is _PAGE:
            markup = f":doc:`/{found[1]}`"
        else:
            markup = f"``{name}``"
        out.append(rf"\ {markup}\ ")
        at = found.end()
    return "".join([*out, escaped(text[at:])])


def indented(lines, by=3):
    return [" " * by + line if line else "" for line in lines]


def unwrapped(text):
    return " ".join(text.split())


def paragraphs(text):
    """What empty lines part, each without its common indentation."""
    return [textwrap.dedent(part) for part in re.split(r"\n\s*\n", text.strip("\n")) if part.strip()]


class Generated(SphinxDirective):
    """A directive whose content is reStructuredText that lines() makes of the file that its argument names."""

    required_arguments = 1

    def source(self):
        path = ROOT / self.arguments[0]
        self.env.note_dependency(str(path))
        return path.read_text()

    def run(self):
        node = Element()
        node.document = self.state.document
        nested_parse_with_titles(self.state, StringList(list(self.lines()), self.arguments[0]), node)
        return node.children
