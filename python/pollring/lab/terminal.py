"""What is shown: by rich on a terminal, where it is installed, and plainly everywhere else."""

import codecs
import contextlib
import shutil
import sys
import textwrap
from typing import Any, Callable, Iterable, Iterator, List, Optional, Sequence, Tuple

from .words import printable

#: For a terminal or file that isn't in Unicode.
ASCII = str.maketrans("─├●■┴×µ≠█…", "-|o#+xu!#~")


def _to_ascii(error: UnicodeError) -> Tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start:error.end].translate(ASCII)
    return text.encode("ascii", "replace").decode(), error.end


TO_ASCII = "pollring-ascii"
codecs.register_error(TO_ASCII, _to_ascii)


def console(stream: Any = None) -> Optional[Any]:
    """A rich console if the stream (stdout) is a terminal and rich is installed, else None."""
    stream = stream or sys.stdout
    if not stream.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=stream, highlight=False)


def width() -> int:
    return shutil.get_terminal_size().columns


class Lines:
    """Lines as they come, and below them on a terminal a status that is overwritten."""

    def __init__(self, plain: bool) -> None:
        self.screen = None if plain else console()
        self.live: Optional[Any] = None

    def __enter__(self) -> "Lines":
        if self.screen:
            from rich.live import Live

            # Refreshed by status() alone: a thread of rich's would get signals that are to be watched.
            self.live = Live(console=self.screen, auto_refresh=False, transient=True)
            self.live.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self.live:
            self.live.__exit__(*exception)

    def line(self, text: str, style: str = "") -> None:
        text = printable(text)
        if self.screen:
            from rich.text import Text

            self.screen.print(Text(text, style), soft_wrap=True)
        else:
            print(text, flush=True)

    def status(self, text: str) -> None:
        if self.live:
            from rich.text import Text

            self.live.update(Text(text, "reverse"), refresh=True)


#: Of cells that begin so.
_STYLES = {"≠": "bold yellow", " ": "not bold"}


def plain_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [*([list(head)] if any(head) else []), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(size) for cell, size in zip(line, widths)).rstrip() for line in lines)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """On a terminal cells that begin with "≠" and the first column are bold, unless indented. An empty row is a line
    between sections."""
    rows = list(rows)
    screen = console()
    if not screen:
        if title:
            print(title)
        print(plain_table(head, filter(None, rows)))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
                  show_header=any(head), padding=(0, 1, 0, 0))
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].style = "bold"
    for row in rows:
        if row:
            table.add_row(*(Text(cell, _STYLES.get(cell[:1], "")) for cell in row))
        else:
            table.add_section()
    screen.print(table)


def print_legend(rows: Sequence[Sequence[str]]) -> None:
    """What a table's signs mean, below it."""
    if rows:
        print(plain_table([], rows) if console() else "\n" + plain_table([], rows))


def print_timeline(timeline: Any) -> None:
    text = timeline.text(width())
    screen = console()
    if not screen:
        print(text)
        return
    from rich.text import Text

    shown = Text(text, no_wrap=True)
    shown.highlight_regex("[●]", "bold green")
    shown.highlight_regex("[■]", "bold red")
    screen.print(shown, overflow="ignore", crop=False)


@contextlib.contextmanager
def progress(title: str, total: int, seconds: float = 2.0) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each of *total* parts. What takes long shows a bar, if stderr is a terminal."""
    screen = console(sys.stderr) if seconds >= 1 else None
    if not screen:
        yield lambda: None
        return
    from rich.progress import Progress

    with Progress(console=screen, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)


def columns(words: Iterable[Sequence[str]]) -> List[str]:
    """Pairs as indented lines, for a help text."""
    pairs = [tuple(pair) for pair in words]
    size = max(len(first) for first, _ in pairs)
    lines = []
    for first, second in pairs:
        head, *rest = textwrap.wrap(second, max(40, min(100, width()) - size - 4))
        lines += [f"  {first:<{size}}  {head}", *(" " * (size + 4) + part for part in rest)]
    return lines
