"""Reads of what consumers have: one by one, and all of a project."""

import json
from collections.abc import Mapping
from dataclasses import replace

from pydantic import TypeAdapter

from genlock.schemas.catalogue import SUBJECTS
from genlock.schemas.queries import QUERY_SUBJECTS, NoFilters, ProjectUsages, UsageType
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Pool
from genlock.service.kinds.allocations.table import consumer_of
from genlock.service.reading.answers import ANSWER_BYTES_MAX, Answer, Read, check_size, not_found, page, start

_CURSOR: TypeAdapter[str] = TypeAdapter(UsageType)


async def get_consumer(pool: Pool, subject: str, _filters: NoFilters, *, bytes_max: int = ANSWER_BYTES_MAX) -> Answer:
    row = await pool.fetchrow(statement("get_consumer"), SUBJECTS["consumer"].validate_python(subject))
    if row is None:
        return not_found("consumer", subject)
    check_size([row], bytes_max)
    consumer = replace(consumer_of(row), allocations=json.loads(row["allocations"] or "{}"))
    return {"record": consumer.state(), "sequence": consumer.sequence}


async def list_project_usages(
    pool: Pool, subject: str, filters: ProjectUsages, *, bytes_max: int = ANSWER_BYTES_MAX
) -> Answer:
    """By consumer type, as Placement groups them from 1.38 on. An unknown project has no use."""
    rows = await pool.fetch(
        statement("list_project_usages"),
        QUERY_SUBJECTS["project.usages"].validate_python(subject),
        filters.user_id,
        filters.consumer_type,
        start(_CURSOR, filters.after),
        filters.limit + 1,
        bytes_max,
    )
    check_size(rows, bytes_max)
    usages = [
        {
            "consumer_type": row["usage_type"],
            "consumer_count": row["consumer_count"],
            "resources": json.loads(row["resources"]),
        }
        for row in rows
    ]
    return page(usages, filters.limit, by="consumer_type")


READS: Mapping[str, Read] = {
    "consumer.get": get_consumer,
    "project.usages": list_project_usages,
}
