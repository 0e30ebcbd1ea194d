"""The public names: all that a user needs is exported and documented, and importing it costs little."""

import subprocess
import sys

import genlock
from genlock import errors
from genlock.schemas.catalogue import TYPE_OF


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
