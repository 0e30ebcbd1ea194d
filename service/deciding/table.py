"""The table of a kind of record: how it is locked and read, created and changed, a whole batch in one statement."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import asyncpg

from genlock.schemas.base import Kind
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, columns, written
from genlock.service.deciding.json_text import JsonText
from genlock.service.deciding.limits import SEVERAL, StateLimits, TooMuchError
from genlock.service.deciding.record import Maker, Record

R = TypeVar("R", bound=Record)
Row = tuple[Any, ...]


def _as_it_is(record: R) -> Sequence[R]:
    return (record,)


@dataclass(frozen=True, slots=True)
class Table(Generic[R]):
    """One kind's table. `row` gives the columns in the order of its statements, `expected` those of its fence."""

    kind: Kind
    name: str
    record: Callable[[asyncpg.Record], R]
    row: Callable[[R], Row]
    expected: Callable[[R], Row]
    blank: Callable[[str], R]
    """A record of an id that no command has made, with as little as a record can have."""
    stages: Callable[[R], Sequence[R]] = _as_it_is
    """The states between which a record goes through all kinds of writes that there are, the last one as it is: what
    tries whether it can be written (blame.py)."""
    sized: bool = True
    """Whether its records have contents that may be large, and its statements that lock take a limit for them."""

    async def lock(
        self,
        connection: Connection,
        changes: Collection[str],
        reads: Collection[str],
        limits: StateLimits = SEVERAL,
    ) -> tuple[list[R], datetime]:
        """Lock the records of these ids until the transaction ends, in the order of their ids, and read them.

        The time is that of the database's clock once all of them are locked.

        Those that are only read are locked shared. An id that is in both is locked as one that changes: a lock that
        has to become exclusive later can deadlock. Raises TooMuchError if their contents are past
        the limit.
        """
        limit = (limits.bytes,) if self.sized else ()
        shared = set(reads).difference(changes)
        if shared:
            ids = [*changes, *shared]
            exclusive = [True] * len(changes) + [False] * len(shared)
            rows = await connection.fetch(statement(f"share_{self.name}"), ids, exclusive, *limit)
        else:
            rows = await connection.fetch(statement(f"lock_{self.name}"), list(changes), *limit)
        *found, last = rows
        if self.sized and found and not found[-1]["fits"]:
            raise TooMuchError(f"the {self.name} that are touched have more than {limits.bytes} bytes")
        return [self.record(row) for row in found], last["locked_at"]

    async def find_locked(self, connection: Connection, changes: Collection[str], reads: Collection[str]) -> list[str]:
        """Find which of these ids `lock` would have to wait for."""
        only_read = set(reads).difference(changes)
        rows = await connection.fetch(statement(f"find_locked_{self.name}"), list(changes), list(only_read))
        return [str(row["id"]) for row in rows]

    async def insert(self, connection: Connection, records: Sequence[R]) -> int:
        """Create the records; return how many there was room for."""
        rows = [self.row(record) for record in records]
        return written(await connection.execute(statement(f"insert_{self.name}"), *columns(rows)))

    async def update(self, connection: Connection, changes: Sequence[tuple[R, R]]) -> int:
        """Change records from the first of a pair to the second; return how many were still as the first."""
        rows = [self.row(after) + self.expected(before) for before, after in changes]
        return written(await connection.execute(statement(f"update_{self.name}"), *columns(rows)))


def maker_of(row: asyncpg.Record) -> Maker:
    """The maker of a row's token. Reads, which do not show it, leave out its user."""
    return Maker(str(row["maker_id"]), row["maker_type"], row["maker_source"], row["maker_time"], row.get("maker_user"))


def maker_row(maker: Maker) -> Row:
    return (maker.command_id, maker.type, maker.source, maker.time, maker.user)


def text_of(value: JsonText | None) -> str | None:
    return None if value is None else value.text


def stored(text: str | None) -> JsonText | None:
    return None if text is None else JsonText(text=text)


def uuid_text(value: Any) -> str | None:
    return None if value is None else str(value)
