"""The shape of a kind of record, everything that the service does differently for it, and of the registry of all kinds.

The registry itself, genlock.service.kinds.registry, is handed in where a process is wired. Nothing in deciding, reading
or verifying knows a single kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import structlog

from genlock.schemas.base import Kind
from genlock.schemas.decode import Command, Refusal
from genlock.service.deciding.extension import Extension
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.rule import Rule
from genlock.service.deciding.state import State
from genlock.service.deciding.table import Table
from genlock.service.ledger.messages import MessageKind
from genlock.service.reading.answers import Read

log = structlog.get_logger()


class Rights(Enum):
    """What a role may do with a table."""

    RECORDS = "SELECT, INSERT, UPDATE"
    """Records are made and changed, and never removed: a deleted one stays as a tombstone."""
    ROWS = "SELECT, INSERT, UPDATE, DELETE"
    """What belongs to a record comes and goes."""
    READ = "SELECT"


@dataclass(frozen=True, slots=True)
class RecordKind:
    """A kind of record. All of its parts but the extensions must be given."""

    table: Table[Any]
    rules: Mapping[str, Rule]
    """By the type of the command."""
    reads: Mapping[str, Read]
    """By the type of the query."""
    checks: tuple[str, ...]
    """The checks of `genlock verify` that hold its rows against its history, in one snapshot."""
    grants: Mapping[str, Rights]
    """What the role of the service may do with its tables and views, by their names: service/database/grants.sql."""
    extensions: tuple[Extension, ...] = ()
    """In the order of their writes."""
    messages: tuple[MessageKind, ...] = ()
    """The kinds of further messages that its rules give."""

    @property
    def kind(self) -> Kind:
        return self.table.kind


class Kinds:
    """All kinds, in the one global order in which their rows are locked, and what follows from them.

    A kind whose records depend on those of another one comes after it. Raises ValueError for a kind without rules,
    reads, checks or grants, for a kind of messages without exchanges, and for anything that two kinds have.
    """

    def __init__(self, *kinds: RecordKind) -> None:
        self.all = kinds
        self.rules: Mapping[str, Rule] = _merged([kind.rules for kind in kinds])
        """The one routing table from the type of a command to its rule."""
        self.reads: Mapping[str, Read] = _merged([kind.reads for kind in kinds])
        """By the type of the query."""
        self.messages: Mapping[str, MessageKind] = _merged(
            [{message.name: message} for kind in kinds for message in kind.messages]
        )
        """The kinds of further messages, by name."""
        self.exchanges: frozenset[str] = frozenset().union(*(message.exchanges for message in self.messages.values()))
        """The exchanges that these go to."""
        for message in self.messages.values():
            if not message.exchanges:
                raise ValueError(f"the kind of messages {message.name} has no exchanges")
        for kind in kinds:
            for part in ("rules", "reads", "checks", "grants"):
                if not getattr(kind, part):
                    raise ValueError(f"the kind {kind.kind} has no {part}")
        _merged([{kind.kind: kind} for kind in kinds])
        self.grants: Mapping[str, Rights] = _merged([kind.grants for kind in kinds])
        """By the table or view."""

    def footprint_of(self, commands: Sequence[Command]) -> Footprint:
        """Gather what these commands may touch. A command that is refused already needs only its record's sequence.

        A slip of a rule or an extension ends only the commands that need what it has not declared, as `internal_error`:
        the state does not have that.
        """
        footprint = Footprint({command.id for command in commands})
        for command in commands:
            if not isinstance(command.data, Refusal):
                try:
                    self.rules[command.type].footprint(footprint, command, command.data)
                except Exception as error:
                    # Other commands must be decided all the same.
                    log.exception("poison", action="poison", command_id=command.id, why=str(error))
            elif command.kind and command.subject:
                footprint.read(command.kind, command.subject)
        for kind in self.touched_by(footprint):
            for extension in kind.extensions:
                try:
                    extension.gather(footprint, commands)
                except Exception as error:
                    ids = ", ".join(command.id for command in commands)
                    log.exception("poison", action="poison", command_id=ids, why=str(error))
        return footprint

    def touched_by(self, footprint: Footprint) -> Sequence[RecordKind]:
        """The kinds that have records in a footprint."""
        return [kind for kind in self.all if footprint.touches(kind.kind)]

    def table(self, kind: Kind) -> Table[Any]:
        """The table of a kind."""
        return next(one.table for one in self.all if one.kind == kind)

    def state(self, footprint: Footprint) -> State:
        """A state with nothing in it yet but the empty parts of the kinds."""
        parts = {kind.kind: [extension.part() for extension in kind.extensions if extension.part] for kind in self.all}
        return State(footprint, {kind: made for kind, made in parts.items() if made})


def _merged(parts: Sequence[Mapping[Any, Any]]) -> dict[Any, Any]:
    """All entries of some mappings. Raises ValueError where two have the same key."""
    merged: dict[Any, Any] = {}
    for part in parts:
        if twice := merged.keys() & part.keys():
            raise ValueError(f"two kinds have {', '.join(sorted(twice))}")
        merged |= part
    return merged
