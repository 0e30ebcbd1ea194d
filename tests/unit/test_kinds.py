"""The registry of kinds: nothing that belongs to a kind can be left out in silence."""

from dataclasses import fields, replace
from typing import get_args

import pytest

from genlock.consumers.amqp.topology import Topology
from genlock.schemas.base import Kind
from genlock.schemas.catalogue import COMMANDS, SUBJECTS
from genlock.schemas.queries import QUERIES
from genlock.service.database.statements import check_files, statement_files
from genlock.service.database.verify import checks_of
from genlock.service.deciding.kind import Kinds, RecordKind
from genlock.service.kinds.documents.kind import DOCUMENTS
from genlock.service.kinds.registry import KINDS
from genlock.service.reading.reads import reads_of
from scripts.reference import grants
from tests.support.notes import NOTES


def test_each_kind_of_the_contract_is_registered_once() -> None:
    assert sorted(kind.kind for kind in KINDS.all) == sorted(get_args(Kind)) == sorted(SUBJECTS)


def test_each_command_and_each_query_of_the_contract_belongs_to_somewhere() -> None:
    assert KINDS.rules.keys() == COMMANDS.keys()
    assert reads_of(KINDS).keys() == QUERIES.keys()
    assert sum(len(kind.rules) for kind in KINDS.all) == len(KINDS.rules)


@pytest.mark.parametrize("kind", KINDS.all, ids=lambda kind: kind.kind)
def test_a_kind_has_all_that_a_kind_needs(kind: RecordKind) -> None:
    needed = {f"{verb}_{kind.table.name}" for verb in ("lock", "share", "insert", "update")} | {f"get_{kind.kind}"}
    assert needed <= statement_files().keys()
    assert f"{kind.kind}.get" in kind.reads
    assert all(COMMANDS[name].kind == kind.kind for name in kind.rules)
    assert f"{kind.kind}_sequences" in kind.checks


def test_each_check_is_made_and_each_that_is_made_is_there() -> None:
    made = [name for names in checks_of(KINDS) for name in names]
    assert sorted(made) == sorted(check_files())


def test_service_is_granted_what_the_kinds_need() -> None:
    assert grants.SCRIPT.read_text() == grants.made(), "run make reference"


@pytest.mark.parametrize("part", ["table", "rules", "reads", "checks", "grants"])
def test_kind_cannot_be_made_without_a_part(part: str) -> None:
    parts = {field.name: getattr(DOCUMENTS, field.name) for field in fields(DOCUMENTS) if field.name != part}
    with pytest.raises(TypeError, match=part):
        RecordKind(**parts)


@pytest.mark.parametrize("part", ["rules", "reads", "checks", "grants"])
def test_kind_without_a_part_cannot_be_registered(part: str) -> None:
    with pytest.raises(ValueError, match=f"document has no {part}"):
        Kinds(replace(DOCUMENTS, **{part: type(getattr(DOCUMENTS, part))()}))


def test_kind_of_messages_without_an_exchange_cannot_be_registered() -> None:
    with pytest.raises(ValueError, match="note has no exchanges"):
        Kinds(replace(DOCUMENTS, messages=(replace(NOTES, exchanges=frozenset()),)))


@pytest.mark.parametrize("exchange", ["commands", "reads", "dead", "lanes", "lanes.of.2"])
def test_further_messages_cannot_go_where_commands_queries_or_dead_letters_do(exchange: str) -> None:
    with pytest.raises(ValueError, match="another purpose"):
        Topology("genlock", exchanges=frozenset({exchange}))


def test_what_two_kinds_have_cannot_be_registered() -> None:
    with pytest.raises(ValueError, match="two kinds have document"):
        Kinds(DOCUMENTS, DOCUMENTS)
