"""How much one transaction may read and make: a batch that comes to more is decided in several transactions.

Bytes are those of JSON texts. What Python makes of them takes up to 36 times as much: an array of empty objects is the
worst (docs/production.md).
"""

from dataclasses import dataclass

from genlock.schemas.codes import Code
from genlock.schemas.decode import Refusal


@dataclass(frozen=True, slots=True)
class StateLimits:
    """How much a transaction reads."""

    bytes: int
    """No more contents of records are read once they have so many bytes."""
    rows: int
    """How many inventories are read, and how many allocations."""


SEVERAL = StateLimits(2**20, 10_000)
"""For several commands. One of them may touch a stack that has a mebibyte, and a document half as much."""

ALONE = StateLimits(64 * 2**20, 100_000)
"""For a command by itself, which cannot be cut. One that touches more is rejected."""

CHANGES_BYTES_MAX = 2 * 2**20
"""No more commands are folded once the records that they have changed, each time anew, come to so much."""

OUTCOMES_BYTES_MAX = 4 * 2**20
"""No more outcomes are made, or read from the ledger, once they come to so much. A single one has no more either."""


class TooMuchError(Exception):
    """The batch comes to more than one transaction may read or make.

    `fits` is how many of its commands, from the first on, do not, as far as that is known.
    """

    def __init__(self, why: str, fits: int | None = None) -> None:
        super().__init__(why)
        self.fits = fits

    def fitting(self, commands: int) -> int:
        """How many of so many commands, two at least, to try next: fewer, and one at least."""
        return max(1, min(self.fits or commands // 2, commands - 1))


def bytes_of(text: str) -> int:
    """How many bytes a text has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def too_large(error: Exception) -> Refusal:
    """Refuse a command because no transaction can read what it touches, or make what it comes to."""
    return Refusal(Code.TOO_LARGE, f"The command cannot be decided: {error}.")
