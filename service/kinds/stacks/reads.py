"""Reads of stacks."""

from collections.abc import Mapping

from genlock.schemas.catalogue import SUBJECTS
from genlock.schemas.queries import NoFilters, StackList
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Pool
from genlock.service.kinds.stacks.table import TABLE, stack_of
from genlock.service.reading.answers import ANSWER_BYTES_MAX, Answer, Read, check_size, page, start
from genlock.service.reading.get import get


async def get_stack(pool: Pool, subject: str, _filters: NoFilters, *, bytes_max: int = ANSWER_BYTES_MAX) -> Answer:
    return await get(pool, TABLE, subject, bytes_max=bytes_max)


async def list_stacks(pool: Pool, _subject: str, filters: StackList, *, bytes_max: int = ANSWER_BYTES_MAX) -> Answer:
    after = start(SUBJECTS["stack"], filters.after)
    rows = await pool.fetch(
        statement("list_stacks"), filters.name, filters.action, filters.status, after, filters.limit + 1
    )
    check_size(rows, bytes_max)
    return page([stack_of(row).summary() for row in rows], filters.limit)


READS: Mapping[str, Read] = {"stack.get": get_stack, "stack.list": list_stacks}
