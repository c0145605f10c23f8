"""Words to values and back: masks of POLL* bits, durations, and the mistake that says what was wrong with one."""

import errno
import re
from contextlib import contextmanager
from typing import Iterator

import pollring

#: The bits by the names that people type: IN, OUT, RDHUP.
BITS = {name[4:]: getattr(pollring, name) for name in pollring.__all__ if name.startswith("POLL")}

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0}


class Mistake(ValueError):
    """What a user got wrong: the text says what was wrong, ``example`` what is right."""

    def __init__(self, text: str, example: str = "") -> None:
        super().__init__(text)
        self.example = example


@contextmanager
def example_within(command: str) -> Iterator[None]:
    """The example of a mistake within it takes the place of the {} in a command, so that it can be pasted."""
    try:
        yield
    except Mistake as mistake:
        raise Mistake(str(mistake), command.format(mistake.example)) from None


def parse_mask(text: str) -> int:
    """"in|out" to POLLIN | POLLOUT; "POLLIN" and "IN" do as well, and 0 for hangup and errors only."""
    mask = 0
    for word in re.split(r"[|+]", text):
        name = word.strip().upper()
        name = name[4:] if name.startswith("POLL") else name
        if name != "0" and name not in BITS:
            raise Mistake(f"{word.strip()!r} is no poll event; they are {', '.join(BITS).lower()}", "in|rdhup")
        mask |= BITS.get(name, 0)
    return mask


def mask_text(mask: int) -> str:
    """What :func:`parse_mask` reads: "in|out"."""
    return events_text(mask).lower()


def events_text(result: int) -> str:
    """The short names of an event's bits, "IN|HUP", or of a negative errno, "EBADF"."""
    return str(pollring.Events(result)).replace("POLL", "")


def errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


def printable(text: str) -> str:
    """Names of files can hold anything: what a terminal or XML would take for more than text is spelt out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def parse_seconds(text: str) -> float:
    """"10ms", "1.5s", "200us" or "3" to seconds."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(us|ms|s|)", text.strip())
    if not match:
        raise Mistake(f"{text!r} is no duration", "10ms")
    return float(match[1]) * _UNITS[match[2]]


def seconds_text(seconds: float) -> str:
    """A duration in the unit that suits it: "35 µs", "1.2 ms", "3 s"."""
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e6:.0f} µs" if seconds else "0"
