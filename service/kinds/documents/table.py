"""The table of documents."""

import asyncpg

from genlock.service.deciding.json_text import JsonText
from genlock.service.deciding.record import NO_MAKER
from genlock.service.deciding.table import Row, Table, maker_of, maker_row, stored, text_of
from genlock.service.kinds.documents.record import Document


def document_of(row: asyncpg.Record) -> Document:
    return Document(
        id=row["id"],
        generation=row["generation"],
        sequence=row["sequence"],
        maker=maker_of(row),
        body=stored(row["body"]),
    )


def _row(document: Document) -> Row:
    return (
        document.id,
        document.generation,
        document.sequence,
        text_of(document.body),
        *maker_row(document.maker),
    )


def _blank(record_id: str) -> Document:
    return Document(record_id, 0, 1, NO_MAKER, JsonText({}))


TABLE = Table("document", "documents", document_of, _row, lambda document: (document.generation,), _blank)
