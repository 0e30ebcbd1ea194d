"""The public names: all that a user needs is exported and documented, and importing it costs little."""

import subprocess
import sys
from typing import Any, get_args, get_overloads, get_type_hints

import pytest

import genlock
from genlock import errors
from genlock._client.states import State
from genlock.schemas.base import CommandData, Kind
from genlock.schemas.catalogue import COMMANDS, STATES, TYPE_OF
from genlock.service.kinds.registry import KINDS


def _subclasses(base: type[Exception]) -> set[type[Exception]]:
    found = {base}
    for child in base.__subclasses__():
        found |= _subclasses(child)
    return found


def _public(base: type[Exception]) -> set[str]:
    return {found.__name__ for found in _subclasses(base) if not found.__name__.startswith("_")}


def test_exported_names_are_those_that_are_documented() -> None:
    documented = set((genlock.__doc__ or "").replace(",", " ").split())
    assert [name for name in genlock.__all__ if name not in documented] == []
    assert sorted(genlock.__all__) == genlock.__all__


def test_all_exported_names_exist() -> None:
    assert [name for name in genlock.__all__ if not hasattr(genlock, name)] == []


def test_all_commands_are_exported() -> None:
    assert {model.__name__ for model in TYPE_OF} <= set(genlock.__all__)


def test_all_errors_are_exported_and_stand_in_the_tree() -> None:
    names = _public(genlock.GenlockError)
    assert names <= set(genlock.__all__)
    assert [name for name in names if name not in (errors.__doc__ or "").split()] == []


def test_import_brings_in_neither_the_service_nor_a_database_driver() -> None:
    unwanted = ("genlock.service", "genlock.consumers", "asyncpg")
    program = f"import genlock, sys; print([name for name in sys.modules if name.startswith({unwanted})])"
    result = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_client_reads_the_state_of_every_kind_of_the_contract_and_of_every_kind_that_is_registered() -> None:
    assert set(get_args(State)) == set(STATES.values())
    assert list(STATES) == list(get_args(Kind))
    assert sorted(STATES) == sorted(kind.kind for kind in KINDS.all)
    assert {model.__name__ for model in STATES.values()} <= set(genlock.__all__)


def overloaded(function: Any) -> set[Any]:
    """The kinds for which a function says what it takes and returns, to type checkers."""
    return {kind for overload in get_overloads(function) for kind in get_args(get_type_hints(overload)["kind"])}


def test_get_and_change_are_typed_for_each_kind() -> None:
    assert overloaded(genlock.Client.get) == overloaded(genlock.Client.change) == set(STATES)


@pytest.mark.parametrize("kind", STATES)
def test_every_command_on_one_record_of_a_kind_is_a_draft_of_that_kind(kind: Kind) -> None:
    parts = get_args(getattr(genlock, f"{kind.capitalize()}Draft"))
    data = {part for part in parts if isinstance(part, type) and issubclass(part, CommandData)}
    assert data == {command.model for command in COMMANDS.values() if command.kind == kind and not command.multi_record}
