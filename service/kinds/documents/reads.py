"""Reads of documents."""

from collections.abc import Mapping

from genlock.schemas.queries import NoFilters
from genlock.service.database.transactions import Pool
from genlock.service.kinds.documents.table import TABLE
from genlock.service.reading.answers import ANSWER_BYTES_MAX, Answer, Read
from genlock.service.reading.get import get


async def get_document(pool: Pool, subject: str, _filters: NoFilters, *, bytes_max: int = ANSWER_BYTES_MAX) -> Answer:
    return await get(pool, TABLE, subject, bytes_max=bytes_max)


READS: Mapping[str, Read] = {"document.get": get_document}
