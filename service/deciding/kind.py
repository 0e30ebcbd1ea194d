"""The shape of a kind of record: everything that the service does differently for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genlock.schemas.base import Kind
from genlock.service.deciding.rule import Rule
from genlock.service.deciding.table import Table
from genlock.service.reading.answers import Read


@dataclass(frozen=True, slots=True)
class RecordKind:
    """A kind of record; genlock.service.kinds.registry has all of them."""

    table: Table[Any]
    rules: Mapping[str, Rule]
    """By the type of the command."""
    reads: Mapping[str, Read]
    """By the type of the query."""
    checks: tuple[str, ...]
    """The checks of `genlock verify` that hold its rows against its history, in one snapshot."""

    @property
    def kind(self) -> Kind:
        return self.table.kind
