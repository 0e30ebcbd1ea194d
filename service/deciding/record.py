"""What the fold needs of a record of any kind: a value, read under its lock and folded command by command."""

from typing import ClassVar, Protocol

from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.outcomes import Token, Winner
from genlock.schemas.values import value

RecordKey = tuple[Kind, str]
"""Kind and id."""

Name = tuple[Kind, str]
"""A name, unique among the live records of its kind."""


@value
class Maker:
    """The command that made a record's current token."""

    command_id: str
    type: str
    source: str
    time: str
    user: str | None = None

    @property
    def winner(self) -> Winner:
        """As a conflict names it."""
        # Only what is set is shown.
        known = {} if self.user is None else {"user": self.user}
        return Winner(command_id=self.command_id, type=self.type, source=self.source, time=self.time, **known)


NO_MAKER = Maker("00000000-0000-0000-0000-000000000000", type="", source="", time="")
"""The maker of a record that no command has made: a blank one."""


class Record(Protocol):
    """A guarded thing. `sequence` counts its accepted commands, `maker` made its current token."""

    kind: ClassVar[Kind]

    @property
    def id(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def maker(self) -> Maker: ...
    @property
    def deleted(self) -> bool: ...
    @property
    def token(self) -> Token: ...
    @property
    def name(self) -> str | None:
        """The unique name that it holds now, None for a kind without names and for a tombstone."""
        ...

    @property
    def size(self) -> int:
        """About how many bytes its contents have, as JSON; 0 where they are always small."""
        ...

    def state(self) -> JsonObject:
        """The record as reads and conflicts show it."""
        ...

    def summary(self) -> JsonObject:
        """The record as success events show it."""
        ...
