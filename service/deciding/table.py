"""The table of a kind of record: how it is locked and read, created and changed, a whole batch in one statement."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import asyncpg

from genlock.schemas.base import Kind
from genlock.schemas.outcomes import Winner
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, columns, written
from genlock.service.deciding.json_text import Stored
from genlock.service.deciding.record import Record

R = TypeVar("R", bound=Record)
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table(Generic[R]):
    """One kind's table. `row` gives the columns in the order of its statements, `expected` those of its fence."""

    kind: Kind
    name: str
    record: Callable[[asyncpg.Record], R]
    row: Callable[[R], Row]
    expected: Callable[[R], Row]

    async def lock(self, connection: Connection, ids: Iterable[str]) -> list[R]:
        """Lock the records of these ids until the transaction ends, in the order of their ids, and read them."""
        rows = await connection.fetch(statement(f"lock_{self.name}"), list(ids))
        return [self.record(row) for row in rows]

    async def insert(self, connection: Connection, records: Sequence[R]) -> int:
        """Create the records; return how many there was room for."""
        rows = [self.row(record) for record in records]
        return written(await connection.execute(statement(f"insert_{self.name}"), *columns(rows)))

    async def update(self, connection: Connection, changes: Sequence[tuple[R, R]]) -> int:
        """Change records from the first of a pair to the second; return how many were still as the first."""
        rows = [self.row(after) + self.expected(before) for before, after in changes]
        return written(await connection.execute(statement(f"update_{self.name}"), *columns(rows)))


def maker_of(row: asyncpg.Record) -> Winner:
    return Winner.model_construct(
        command_id=str(row["maker_id"]), type=row["maker_type"], source=row["maker_source"], time=row["maker_time"]
    )


def maker_row(maker: Winner) -> Row:
    return (maker.command_id, maker.type, maker.source, maker.time)


def text_of(value: Stored | None) -> str | None:
    return None if value is None else value.text


def stored(text: str | None) -> Stored | None:
    return None if text is None else Stored(text=text)


def uuid_text(value: Any) -> str | None:
    return None if value is None else str(value)
