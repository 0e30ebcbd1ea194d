"""Reads as the query consumer makes them."""

from genlock.schemas.queries import Filters
from genlock.service.database.transactions import Pool
from genlock.service.kinds.registry import KINDS
from genlock.service.reading.reads import Answer, reads_of

READS = reads_of(KINDS)


async def read(pool: Pool, query: str, subject: str, filters: Filters) -> Answer:
    """Answer a query of the catalogue."""
    return await READS[query](pool, subject, filters)
