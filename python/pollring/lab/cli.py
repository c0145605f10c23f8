"""The command ``pollring``: finds the sub-commands, and turns what goes wrong into a message and an exit status.

A sub-command is a module of this package with ``add_arguments(parser)`` and ``run(arguments)``, which returns the exit
status. Its docstring is its help: the first line in the list of commands, all of it in its own; the first line in it
that begins with "  pollring" is the example that a mistake is answered with. ``EXIT_STATUS`` in it has the meanings of
exit statuses that are its own.
"""

import argparse
import io
import os
import re
import sys
from importlib import import_module
from typing import Any, Dict, List, NoReturn, Optional

from .. import __version__
from . import terminal
from .words import Mistake

COMMANDS = (
    "probe",
    "watch",
    "try_",
    "rules",
    "table",
    "bench",
    "completion",
)

DESCRIPTION = """\
See what poll does on this machine: which readiness events a file gives, under which interface.

Examples:
  pollring probe
  pollring watch tcp:localhost:8080 timer:1
  pollring try pipe 'arm in, write 3, read 1, read all, close'
"""

EXIT_STATUS = {
    0: "done",
    1: "something failed",
    2: "the command line was wrong",
    130: "interrupted by Ctrl-C",
}


class Parser(argparse.ArgumentParser):
    """Answers a mistake with what is right; its help ends with the exit statuses: those of all commands, with *others*
    in their place or besides."""

    def __init__(self, others: Optional[Dict[int, str]] = None, **options: Any) -> None:
        meanings = sorted({**EXIT_STATUS, **(others or {})}.items())
        epilog = "\n".join(["Exit status:", *(f"  {status:<3}  {meaning}" for status, meaning in meanings)])
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, epilog=epilog, allow_abbrev=False,
                         **options)

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]  # it misreads typeshed's overloads
            self, args: Any = None, namespace: Any = None) -> Any:
        """Names an unknown option, where argparse would tell what else is missing."""
        for word in args or ():
            if self._subparsers and not word.startswith("-"):
                break  # the others are the command's
            name = word.partition("=")[0] if word.startswith("--") else word[:2]
            if re.match("--?[A-Za-z]", name) and name not in self._option_string_actions:
                self.error(f"what is {word!r}?")
        return super().parse_known_args(args, namespace)

    def error(self, message: str, example: str = "") -> NoReturn:
        example = example or re.findall(r"^  (pollring .*)", self.description or "", re.MULTILINE)[0]
        exclusive = re.match("argument (.*): not allowed with argument (.*)", message)
        for option in exclusive.groups() if exclusive else ():
            if self._option_string_actions[option.rpartition("/")[2]].nargs == 0:
                example += f" {option.rpartition('/')[2]}"
                break
        self.exit(2, f"{self.prog}: {message}\nRight is, for example: {example}\n"
                     f"`{self.prog} --help` tells more.\n")


def make_parser() -> Parser:
    parser = Parser({1: "something failed, or an outcome is other than it should be",
                     3: "io_uring is refused here, and only epoll works"}, prog="pollring", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"pollring {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module_name in COMMANDS:
        module = import_module(f"{__package__}.{module_name}")
        name, text = module_name.rstrip("_"), module.__doc__ or ""
        its_parser = commands.add_parser(name, help=text.partition("\n")[0].rstrip("."), description=text,
                                         others=getattr(module, "EXIT_STATUS", {}))
        its_parser.set_defaults(run=module.run, parser=its_parser)
        module.add_arguments(its_parser)
    return parser


def parse(argv: List[str]) -> argparse.Namespace:
    """Arguments of the whole command line. What follows "--" becomes ``command`` of the one that takes it, watch."""
    argv, after = (argv[:argv.index("--")], argv[argv.index("--") + 1:]) if "--" in argv else (argv, None)
    arguments: argparse.Namespace
    rest: List[str]
    arguments, rest = make_parser().parse_known_args(argv)
    if rest and hasattr(arguments, "targets") and not any(word.startswith("-") for word in rest):
        arguments.targets += rest  # argparse finds positionals before options, or after them, but not both
    elif rest:
        arguments.parser.error(f"what is {' '.join(rest)!r}?")
    if after is not None:
        if not hasattr(arguments, "command"):
            arguments.parser.error("nothing may follow --")
        arguments.command = after
    return arguments


def main(argv: Optional[List[str]] = None) -> int:
    """Runs one command line; returns its exit status."""
    if sys.stdout is None:  # closed by who started it
        sys.stdout = open(os.devnull, "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=terminal.TO_ASCII)
    if "_ARGCOMPLETE" in os.environ:
        import_module(f"{__package__}.completion").answer(make_parser())
    arguments: Dict[str, Any] = {}
    try:
        parsed = parse(sys.argv[1:] if argv is None else argv)
        arguments = vars(parsed)
        for path in filter(None, map(arguments.get, ("save", "svg", "html"))):
            _check_writable(path)
        status: int = parsed.run(parsed)
        sys.stdout.flush()
        return status
    except Mistake as mistake:
        parser: Parser = arguments["parser"]
        parser.error(str(mistake), mistake.example)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # `pollring table | head`: nobody reads any more
            where = f"{error.filename}: " if error.filename is not None else ""
            print(f"{arguments['parser'].prog}: {where}{error.strerror or error}", file=sys.stderr)
        _give_up_stdout_if_broken()
        return 1
    except KeyboardInterrupt:
        return 130


def _check_writable(path: str) -> None:
    """Tells what can't be written before anything is run for it; makes no file."""
    if os.path.exists(path) or not os.access(os.path.dirname(path) or ".", os.W_OK):
        open(path, "a").close()


def _give_up_stdout_if_broken() -> None:
    """Else the interpreter would try it once more at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
