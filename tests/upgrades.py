"""A migration of a version to come, and programs that know it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from genlock.service.database import migrate
from genlock.service.database.migrate import Migration, migrations

NEWEST = migrations()[-1].version

ADDITIVE = """
CREATE TABLE colours (name text PRIMARY KEY);
ALTER TABLE documents ADD COLUMN colour text NOT NULL DEFAULT 'none';
ALTER TABLE ledger ADD COLUMN colour text;
ALTER TABLE batches ADD COLUMN colour text;
ALTER TABLE changes ADD COLUMN colour text;
"""


def to_come(sql: str = ADDITIVE, compatible_since: int | None = NEWEST) -> Migration:
    """The next migration, with which programs go that know that one, or none of today's."""
    header = "" if compatible_since is None else f"-- compatible since {compatible_since}\n"
    return Migration(NEWEST + 1, "of the future", header + sql)


@contextmanager
def upgraded(migration: Migration) -> Iterator[None]:
    """Within the context programs know this migration too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "migrations", lambda: [*migrations(), migration])
        yield
