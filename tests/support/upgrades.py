"""A migration of a version to come, and programs that know it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from genlock.service.database import migrate, transactions
from genlock.service.database.migrate import Migration, migrations
from genlock.service.database.statements import statement, statement_files
from genlock.service.deciding import store, table
from genlock.service.ledger import ledger

NEWEST = migrations()[-1].version

WRITING = ("insert_", "update_")
"""How the names of statements begin that write a hash."""

ADDITIVE = """
CREATE TABLE colours (name text PRIMARY KEY);
ALTER TABLE documents ADD COLUMN colour text NOT NULL DEFAULT 'none';
ALTER TABLE ledger ADD COLUMN colour text;
ALTER TABLE batches ADD COLUMN colour text;
ALTER TABLE changes ADD COLUMN colour text;
"""


def next_migration(sql: str = ADDITIVE, compatible_since: int | None = NEWEST) -> Migration:
    """The next migration, with which programs go that know that one, or none of today's."""
    header = "" if compatible_since is None else f"-- compatible since {compatible_since}\n"
    return Migration(NEWEST + 1, "of the future", header + sql)


@contextmanager
def upgraded(migration: Migration) -> Iterator[None]:
    """Within the context programs know this migration too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "migrations", lambda: [*migrations(), migration])
        yield


@contextmanager
def older_statements() -> Iterator[None]:
    """Within the context statements are as before there were hashes, and a batch does not count its commands."""
    texts = {name: _without_hashes(statement(name)) for name in statement_files() if name.startswith(WRITING)}
    changed = {name: text for name, text in texts.items() if text != statement(name)}

    def older(name: str) -> str:
        return changed.get(name) or statement(name)

    with pytest.MonkeyPatch.context() as patch:
        for module in (ledger, store, table, transactions):
            patch.setattr(module, "statement", older)
        yield


def _without_hashes(text: str) -> str:
    text = re.sub(r",\s+(?:\w+_hash = )?hash_record_extended\(ROW\([^()]*\), 0\)", "", text)
    text = re.sub(r",\s+(?:row|state)_hash\b", "", text)
    return text.replace("batches (commands) VALUES (cardinality($1::uuid[]))", "batches DEFAULT VALUES")
