"""The directive command-help: the reference of the command `pollring`, made of the help of its parsers."""

import argparse
import re
import textwrap

from pollring.lab.cli import make_parser

from generated import Generated, escaped, indented, paragraphs


def definitions(block):
    """A block in two columns: "  term  text", whose further lines are indented."""
    for found in re.finditer(r"^  (?! )(.+?)(?: {2,}(.*(?:\n {4,}.*)*)|((?:\n {4,}.*)+))?$", block, re.MULTILINE):
        text = " ".join((found[2] or found[3] or "").split())
        yield from [f"``{found[1]}``", *indented([escaped(text)]), ""]


def prose(text):
    """The help's text: paragraphs, blocks in two columns, examples."""
    for block in paragraphs(text):
        heading, _, rest = block.partition("\n")
        if not re.match(r"[A-Z].*:$", heading) or not rest.startswith("  "):
            yield from [re.sub(r"`+([^`]*)`+", r"``\1``", " ".join(block.split())), ""]
        elif heading == "Examples:":
            yield from [".. code-block:: console", "", *indented(f"$ {line.strip()}" for line in rest.split("\n")), ""]
        else:
            yield from [f"**{heading[:-1]}**", "", *definitions(rest)]


def options(parser):
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction) or not action.option_strings:
            continue
        value = "" if action.nargs == 0 else f" {action.metavar}" + ("..." if action.nargs == "+" else "")
        yield from [".. option:: " + ", ".join(name + value for name in action.option_strings), "",
                    *indented([escaped(action.help % vars(action))]), ""]


def usage(parser):
    text = textwrap.dedent(re.sub(r"^usage: ", "       ", parser.format_usage()))
    return [".. code-block:: text", "", *indented(line.rstrip() for line in text.strip().split("\n")), ""]


class CommandHelp(Generated):
    required_arguments = 0

    def run(self):
        self.arguments = ["pollring --help"]
        return super().run()

    def lines(self):
        parser = make_parser()
        yield from [*prose(parser.description), ".. program:: pollring", "", *options(parser),
                    *prose(parser.epilog)]
        commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        for name, command in commands.choices.items():
            yield from [f"pollring {name}", "-" * len(f"pollring {name}"), "", f".. program:: pollring {name}", ""]
            yield from [*usage(command), *prose(command.description), *options(command), *prose(command.epilog)]


def setup(app):
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
