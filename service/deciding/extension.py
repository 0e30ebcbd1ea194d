"""The shape of an extension: what a kind of record finds, reads and writes beside its own rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from genlock.schemas.decode import Command
from genlock.service.database.transactions import Connection
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.record import Record, RecordKey
from genlock.service.deciding.state import State, StatePart


@dataclass(frozen=True, slots=True)
class Writes:
    """What a batch comes to."""

    before: Mapping[RecordKey, Record]
    """The records as they were read."""
    changed: Mapping[RecordKey, Record]
    """Those that are different now."""
    history: Sequence[Record]
    """Each of these as each command has left it, in their order."""


class Extension:
    """The further steps of a kind's footprint, in the order in which a batch comes to them.

    A step runs only in a batch that touches a record of the kind. It is a fixed number of statements, each for the
    whole batch and bounded by what the commands name. By default it does nothing.
    """

    part: ClassVar[type[StatePart] | None] = None
    """Makes the part of the state that `read` fills and the rules ask."""

    def gather(self, footprint: Footprint, commands: Sequence[Command]) -> None:
        """Add what follows only from the whole batch. Pure."""

    def barrier(self, footprint: Footprint) -> str | None:
        """Name the statement that takes an advisory lock shared, or for this batch alone if its only parameter is true.

        Needed where `find` can be wrong: a batch that is decided again, because something was not as found, waits
        until nothing can change it any more.
        """

    async def find(self, connection: Connection, footprint: Footprint) -> None:
        """Add to the footprint what only the database knows, as it is now, before any row is locked.

        Records that it finds belong to the same kind, or to one that is locked earlier.
        """

    async def read(self, connection: Connection, state: State) -> None:
        """Read what stands beside the rows, under the locks of all of them.

        It may follow the locked rows to rows that they guard. Raises DecideAgainError if `find` was wrong.
        """

    async def write(self, connection: Connection, writes: Writes) -> None:
        """Write what stands beside the rows, after these. Raises DecideAgainError if it is not as it was read."""
