"""Reading one record by its id, as most kinds are read."""

from typing import Any

from genlock.schemas.catalogue import SUBJECTS
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Pool
from genlock.service.deciding.table import Table
from genlock.service.reading.answers import Answer, not_found


async def get(pool: Pool, table: Table[Any], subject: str) -> Answer:
    """Answer with the state of a record. Raises ValueError for a subject that cannot be one, and asyncpg's errors."""
    record_id = SUBJECTS[table.kind].validate_python(subject)
    row = await pool.fetchrow(statement(f"get_{table.kind}"), record_id)
    if row is None:
        return not_found(table.kind, subject)
    record = table.record(row)
    return {"record": record.state(), "sequence": record.sequence}
