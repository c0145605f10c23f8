"""Print what makes bash or zsh complete this command.

It is done by argcomplete, which the extra pollring[lab] and Debian's package
python3-argcomplete bring.

Examples:
  pollring completion bash >> ~/.bashrc
  pollring completion zsh >> ~/.zshrc
"""

import argparse
from typing import Any, Callable, Iterator, List

from .kinds import KINDS
from .words import BITS, Mistake

#: What can be typed for an argument, by its metavar, and whether it can be a file too.
_WORDS = {
    "FILE": ([], True),
    "KIND": (list(KINDS), True),
    "TARGET": (["-", "fd:", "tcp:", "listen:", "unix:", "timer:", "signal:", "pid:"], True),
    "MASK": ([name.lower() for name in BITS], False),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh"), help="bash or zsh")


def run(arguments: argparse.Namespace) -> int:
    try:
        import argcomplete
    except ImportError:
        raise Mistake("argcomplete is not installed", "pip install 'pollring[lab]'") from None
    if arguments.shell == "zsh":
        print("autoload -U +X compinit bashcompinit\n(( $+functions[compdef] )) || compinit\nbashcompinit")
    print(argcomplete.shellcode(["pollring"], shell="bash"))  # type: ignore[attr-defined]  # its __all__ lacks it
    return 0


def answer(parser: Any) -> None:
    """Called by the shell's function: prints what fits, and exits."""
    import argcomplete

    for action in _actions(parser):
        words, files = _WORDS.get(action.metavar, ([], False))
        if words or files:
            action.completer = _completer(words, argcomplete.completers.FilesCompleter() if files else None)
    argcomplete.autocomplete(parser)


def _completer(words: List[str], files: Any) -> Callable[..., List[str]]:
    def complete(prefix: str, **_: Any) -> List[str]:
        return [word for word in words if word.startswith(prefix)] + (files(prefix) if files else [])

    return complete


def _actions(parser: Any) -> Iterator[Any]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)
