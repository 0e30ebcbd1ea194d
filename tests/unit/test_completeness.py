"""No list of the tests and the pages leaves out a command or a kind. tests/unit/test_kinds.py is about the product."""

from collections.abc import Iterable, Mapping

import pytest

from genlock.schemas.base import Kind
from genlock.schemas.catalogue import COMMANDS, RECORDS
from genlock.service.database.statements import check
from genlock.service.deciding.kind import RecordKind, Rights
from genlock.service.kinds.registry import KINDS
from tests.faults import workload
from tests.fuzz.bodies import DATA, QUERY_DATA
from tests.guards.removal import RECORDS as GUARDED
from tests.integration import test_allocation_plans, test_deciding_plans
from tests.property import strategies, strategies_consumers
from tests.property.model import FIELDS, Model
from tests.support.paths import REPOSITORY


def types_of(verbs: Mapping[str, Iterable[str]]) -> set[str]:
    return {f"{kind}.{verb}" for kind, drawn in verbs.items() for verb in drawn}


def test_model_of_the_property_tests_decides_every_command() -> None:
    assert FIELDS.keys() == COMMANDS.keys()
    assert [name for name in COMMANDS if not hasattr(Model, f"_{name.replace('.', '_')}")] == []


def test_property_tests_draw_every_command() -> None:
    drawn = types_of(strategies.VERBS)
    drawn |= {verb if "." in verb else f"consumer.{verb}" for verb in strategies_consumers.VERBS}
    assert drawn == COMMANDS.keys()


def test_fault_tests_send_every_command() -> None:
    assert types_of(workload.VERBS) == COMMANDS.keys()


def test_fuzz_tests_break_every_command_and_the_reads_of_every_kind() -> None:
    assert DATA.keys() == COMMANDS.keys()
    assert {f"{kind}.get" for kind in RECORDS} <= QUERY_DATA.keys()


@pytest.mark.parametrize("kind", KINDS.all, ids=lambda kind: kind.kind)
def test_guards_of_every_kind_are_taken_away_once(kind: RecordKind) -> None:
    """Its fence and its locks, by tests/guards."""
    assert kind.table.name in GUARDED
    assert len(GUARDED) == len(KINDS.all)


@pytest.mark.parametrize("table", [table for table, rights in KINDS.grants.items() if rights is not Rights.READ])
def test_statements_on_every_table_are_held_to_their_plans(table: str) -> None:
    planned = test_deciding_plans.FILLED | {name.partition("_")[2] for name in test_allocation_plans.BATCHES}
    assert table in planned


@pytest.mark.parametrize("kind", KINDS.all, ids=lambda kind: kind.kind)
def test_checks_of_every_kind_hold_its_own_table_against_its_history(kind: RecordKind) -> None:
    sequences = check(f"{kind.kind}_sequences")
    assert kind.table.name in sequences
    assert "changes" in sequences
    assert f"{kind.kind}_sequences" in kind.checks


@pytest.mark.parametrize("kind", RECORDS)
def test_contract_tells_of_every_kind(kind: Kind) -> None:
    """The reference is made from the code, and the page of the roles is held to what the database grants."""
    assert f"`{kind}" in (REPOSITORY / "docs" / "contract.md").read_text()
