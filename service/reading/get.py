"""Reading one record by its id."""

from typing import Any

from genlock.schemas.catalogue import SUBJECTS
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Pool
from genlock.service.deciding.table import Table
from genlock.service.reading.answers import ANSWER_BYTES_MAX, Answer, check_size, not_found


async def get(pool: Pool, table: Table[Any], subject: str, *, bytes_max: int = ANSWER_BYTES_MAX) -> Answer:
    """Answer with the state of a record. Raises as any read does."""
    record_id = SUBJECTS[table.kind].validate_python(subject)
    row = await pool.fetchrow(statement(f"get_{table.kind}"), record_id)
    if row is None:
        return not_found(table.kind, subject)
    check_size([row], bytes_max)
    record = table.record(row)
    return {"record": record.state(), "sequence": record.sequence}
