"""What one event says."""

from . import _pollring


class Events(int):
    """The POLL* bits of one event, as an int that names them: ``<POLLIN|POLLHUP: 17>``, as str ``POLLIN|POLLHUP``. So
    ``str(Events(17))`` names any mask, such as that of :attr:`Poll.events`.

    A negative one is an errno: ``-errno.ECANCELED`` for a poll that was removed. An event holds the bits of the wake-up,
    not the state of the file: it is a hint, so read until BlockingIOError.

    Equal events are the same object: treat them as constants.
    """

    #: Whether the poll stays armed and further events will come (``IORING_CQE_F_MORE``).
    more: bool

    def __new__(cls, value: int = 0, more: bool = False) -> "Events":
        self = super().__new__(cls, value)
        if not -0x80000000 <= self <= 0x7FFFFFFF:
            raise ValueError(f"events {int(self)} is out of range: a mask of POLL* bits, or a negative errno")
        self.more = bool(more)
        return self

    def __str__(self) -> str:
        return _pollring.names(self)

    def __repr__(self) -> str:
        return f"<{self}: {int(self)}>"
