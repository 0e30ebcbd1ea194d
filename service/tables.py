"""The tables of records: how each kind is locked and read, created and changed, a whole batch in one statement."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import asyncpg

from genlock.schemas.base import Kind
from genlock.schemas.outcomes import Winner
from genlock.schemas.stacks import Action, Status
from genlock.service.database import Connection, columns, written
from genlock.service.records import Consumer, Document, Provider, Record, Stack
from genlock.service.sql import statement
from genlock.service.stored import Stored

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


def _maker(row: asyncpg.Record) -> Winner:
    return Winner.model_construct(
        command_id=str(row["maker_id"]), type=row["maker_type"], source=row["maker_source"], time=row["maker_time"]
    )


def _maker_row(maker: Winner) -> Row:
    return (maker.command_id, maker.type, maker.source, maker.time)


def _text(value: Stored | None) -> str | None:
    return None if value is None else value.text


def _stored(text: str | None) -> Stored | None:
    return None if text is None else Stored(text=text)


def _uuid(value: Any) -> str | None:
    return None if value is None else str(value)


def _document(row: asyncpg.Record) -> Document:
    return Document(
        id=row["id"],
        generation=row["generation"],
        sequence=row["sequence"],
        maker=_maker(row),
        body=_stored(row["body"]),
    )


def _document_row(document: Document) -> Row:
    return (
        document.id,
        document.generation,
        document.sequence,
        _text(document.body),
        *_maker_row(document.maker),
    )


def provider_of(row: asyncpg.Record) -> Provider:
    return Provider(
        id=str(row["id"]),
        generation=row["generation"],
        sequence=row["sequence"],
        maker=_maker(row),
        provider_name=row["name"],
        parent_id=_uuid(row["parent_id"]),
        inventories={},
        traits=frozenset(row["traits"]),
        aggregates=frozenset(map(str, row["aggregates"])),
        deleted=row["deleted"],
    )


def _provider_row(provider: Provider) -> Row:
    return (
        provider.id,
        provider.generation,
        provider.sequence,
        provider.provider_name,
        provider.parent_id,
        " ".join(sorted(provider.traits)),
        " ".join(sorted(provider.aggregates)),
        provider.deleted,
        *_maker_row(provider.maker),
    )


def consumer_of(row: asyncpg.Record) -> Consumer:
    return Consumer(
        id=str(row["id"]),
        generation=row["generation"],
        sequence=row["sequence"],
        maker=_maker(row),
        project_id=row["project_id"],
        user_id=row["user_id"],
        consumer_type=row["consumer_type"],
        allocations={},
        deleted=row["deleted"],
    )


def _consumer_row(consumer: Consumer) -> Row:
    return (
        consumer.id,
        consumer.generation,
        consumer.sequence,
        consumer.project_id,
        consumer.user_id,
        consumer.consumer_type,
        consumer.deleted,
        *_maker_row(consumer.maker),
    )


def _stack(row: asyncpg.Record) -> Stack:
    return Stack(
        id=str(row["id"]),
        sequence=row["sequence"],
        maker=_maker(row),
        stack_name=row["name"],
        action=Action(row["action"]),
        status=Status(row["status"]),
        status_reason=row["status_reason"],
        traversal=str(row["traversal"]),
        previous_traversal=_uuid(row["previous_traversal"]),
        template=Stored(text=row["template"]),
        previous_template=_stored(row["previous_template"]),
        disable_rollback=row["disable_rollback"],
        timeout_s=row["timeout_s"],
    )


def _stack_row(stack: Stack) -> Row:
    return (
        stack.id,
        stack.sequence,
        stack.stack_name,
        stack.action,
        stack.status,
        stack.status_reason,
        stack.traversal,
        stack.previous_traversal,
        _text(stack.template),
        _text(stack.previous_template),
        stack.disable_rollback,
        stack.timeout_s,
        *_maker_row(stack.maker),
    )


TABLES: tuple[Table[Any], ...] = (
    Table("provider", "providers", provider_of, _provider_row, lambda provider: (provider.generation,)),
    Table("consumer", "consumers", consumer_of, _consumer_row, lambda consumer: (consumer.generation,)),
    Table("stack", "stacks", _stack, _stack_row, lambda stack: (stack.traversal, stack.sequence)),
    Table("document", "documents", _document, _document_row, lambda document: (document.generation,)),
)
"""In the one global order in which their rows are locked: provider, consumer, stack, document."""
