"""The registry of kinds: nothing that belongs to a kind can be left out in silence."""

from typing import get_args

import pytest

from genlock.schemas.base import Kind
from genlock.schemas.catalogue import COMMANDS, SUBJECTS
from genlock.schemas.queries import QUERIES
from genlock.service.database.statements import check_files, statement_files
from genlock.service.database.verify import CHECKS
from genlock.service.deciding.kind import RecordKind
from genlock.service.kinds.registry import KINDS, RULES
from genlock.service.reading.reads import READS


def test_each_kind_of_the_contract_is_registered_once() -> None:
    assert sorted(kind.kind for kind in KINDS) == sorted(get_args(Kind)) == sorted(SUBJECTS)


def test_each_command_and_each_query_of_the_contract_belongs_to_somewhere() -> None:
    assert RULES.keys() == COMMANDS.keys()
    assert READS.keys() == QUERIES.keys()
    assert sum(len(kind.rules) for kind in KINDS) == len(RULES)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_kind_has_all_that_a_kind_needs(kind: RecordKind) -> None:
    needed = {f"{verb}_{kind.table.name}" for verb in ("lock", "insert", "update")} | {f"get_{kind.kind}"}
    assert needed <= statement_files().keys()
    assert f"{kind.kind}.get" in kind.reads
    assert all(COMMANDS[name].kind == kind.kind for name in kind.rules)
    assert f"{kind.kind}_sequences" in kind.checks


def test_each_check_is_made_and_each_that_is_made_is_there() -> None:
    made = [name for names in CHECKS for name in names]
    assert sorted(made) == sorted(check_files())
