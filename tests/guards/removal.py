"""The guards of the service, and how a test takes one away: by a patch of its text in memory, never in the product.

A guard is named with the exact text that it is. Where the service's code moves on, `without` fails instead of
removing nothing; and where a scenario never comes past the guard, it fails too.
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from types import ModuleType
from typing import Any
from unittest.mock import patch

from genlock.service.database.statements import statement


@dataclass(frozen=True)
class Edit:
    """What makes a guard ineffective: a text in a file of the repository, and what stands there instead.

    `function` is where in a Python file, such as `Decider.decide`; a statement in SQL is a file by itself.
    """

    file: str
    text: str
    instead: str = ""
    function: str = ""


RECORDS = {"documents": "generation", "providers": "generation", "consumers": "generation", "stacks": "sequence"}
"""The tables of records, and the column of each whose fence lets one of two authors pass."""

KINDS = {table: f"service/kinds/{table}" for table in RECORDS} | {"consumers": "service/kinds/allocations"}
"""The packages that these tables belong to."""

PUBLISHING, SETTLING = "CommandConsumer._publish_batches", "CommandConsumer._settle_batches"
NEXT = "\n                "
"""The next line there."""

GUARDS: dict[str, tuple[Edit, ...]] = {
    "the expected token": (
        Edit("service/deciding/generations.py", "if expected == actual:", "if True:", function="check"),
    ),
    "the fence": tuple(
        Edit(f"{KINDS[table]}/sql/update_{table}.sql", f"AND {table}.{column} = new.expected_{column}")
        for table, column in RECORDS.items()
    ),
    "row locks": tuple(Edit(f"{KINDS[table]}/sql/lock_{table}.sql", "FOR NO KEY UPDATE") for table in RECORDS),
    "the history's key": (
        Edit(
            "service/deciding/store.py",
            'await must_write(connection, "insert_changes", [_change_row(change) for change in changes])',
            'await connection.execute(statement("insert_changes"), *columns(list(map(_change_row, changes))))',
            function="write",
        ),
    ),
    "the fence of capacity": (
        Edit("service/kinds/providers/sql/update_inventories.sql", "AND inventories.used = new.expected_used"),
        Edit("service/kinds/providers/sql/update_inventories.sql", "new.replaced\n", "true\n"),
    ),
    "tokens never go back": (
        Edit(
            "service/kinds/documents/rules.py",
            "else record.generation + 1",
            "else 0 if record.deleted else record.generation + 1",
            function="_stored",
        ),
    ),
    "known ids are answered": (
        Edit(
            "service/deciding/decide.py",
            "decided, told = await ledger.find_now(connection, {command.id for command in commands})",
            "decided, told = await ledger.find_now(connection, set())",
            function="Decider._decide",
        ),
    ),
    "missing ledger rows": (
        Edit(
            "service/deciding/decide.py",
            'raise DecideAgainError("another consumer decided one of the commands meanwhile")',
            "return []",
            function="_record",
        ),
    ),
    "waiting for the standby": (
        Edit("service/deciding/decide.py", "if not batch.entries:", "if False:", function="Decider._transact"),
    ),
    "heeding warnings": (
        Edit("service/database/transactions.py", "if warnings:", "if False:", function="_heeding_warnings"),
    ),
    "the maker of a token": (
        Edit(
            "service/deciding/fold.py",
            "if repeated := rule.repeated(state, command, record):",
            "if repeated := None:",
            function="decide",
        ),
    ),
    "the content's hash": (
        Edit(
            "service/deciding/decide.py",
            "if command.content_hash == decided.content_hash:",
            "if True:",
            function="Decider._answer",
        ),
    ),
    "one order of row locks": (
        Edit("service/kinds/documents/sql/lock_documents.sql", "ORDER BY id", "ORDER BY id DESC"),
    ),
    "one order of new ids": (
        Edit("service/ledger/sql/insert_ledger.sql", "ORDER BY new.id"),
        Edit(
            "service/deciding/decide.py",
            "sorted(entries, key=lambda entry: entry.command_id)",
            "entries",
            function="_record",
        ),
    ),
    "locks of names": (Edit("service/deciding/sql/lock_names.sql", "pg_advisory_xact_lock(key)", "key"),),
    "the key of names": (
        Edit(
            "service/deciding/store.py",
            'await must_write(connection, "insert_names", taken)',
            'await connection.execute(statement("insert_names"), *columns(taken))',
            function="write",
        ),
    ),
    "locks of roots": (
        Edit("service/deciding/store.py", 'footprint.read("provider", *roots)', "pass", function="lock_and_read"),
        Edit(
            "service/kinds/providers/trees.py",
            "if state.root_of(provider_id) not in locked:",
            "if False:",
            function="read",
        ),
    ),
    "roots are found again": (
        Edit(
            "service/kinds/providers/trees.py",
            "if state.root_of(provider_id) not in locked:",
            "if False:",
            function="read",
        ),
    ),
    "halving": (
        Edit(
            "service/deciding/decide.py",
            "return await self._reject_poison(commands[0], confirmed)\n                break",
            "return await self._reject_poison(commands[0], confirmed)\n                raise",
            function="Decider.decide",
        ),
    ),
    "strict UTF-8": (
        Edit("schemas/decode.py", "text = body.decode()", 'text = body.decode(errors="replace")', function="_read"),
    ),
    "holding": (
        Edit(
            "consumers/commands.py",
            "self._vitals.metrics.held()",
            "raise ConnectionError(str(trouble)) from trouble",
            function="CommandConsumer._patiently",
        ),
    ),
    "keeping lanes": (
        Edit(
            "consumers/commands.py",
            "self._vitals.metrics.held()",
            "await self._registration.cancel()",
            function="CommandConsumer._patiently",
        ),
    ),
    "keeping records apart": (
        Edit(
            "consumers/abreast.py",
            " and all(map(touches.disjoint, self._under_way))",
            function="Abreast._has_room",
        ),
    ),
    "publishing before acknowledging": (
        Edit("consumers/commands.py", "await self._settle(batch, held)", "pass", function=SETTLING),
        Edit(
            "consumers/commands.py",
            "publishing = group",
            f"await self._settle(batch, set()){NEXT}self._reached(Step.SETTLED){NEXT}publishing = group",
            function=PUBLISHING,
        ),
    ),
    "confirming after publishing": (
        Edit(
            "consumers/commands.py",
            "publishing = group",
            f"self._confirmations.add(batch.answers.batch_ids){NEXT}await self._confirmations.flush(){NEXT}"
            "publishing = group",
            function=PUBLISHING,
        ),
    ),
    "removing after publishing": (
        Edit(
            "consumers/retry.py",
            "results = [",
            "await letters.remove(delivery.tag)\n        results = [",
            function="Retrier.retry",
        ),
    ),
    "one id for each retry": (
        Edit(
            "service/ledger/retry_ids.py",
            'uuid.uuid5(uuid.UUID(first_id), f"retry:{number}")',
            "uuid.uuid4()",
            function="retry_id",
        ),
    ),
}
"""Each guard by its name, which docs/guarantees.md has too."""


@contextmanager
def without(*guards: str) -> Iterator[None]:
    """Take guards away until the context ends. What runs in it must come past each of them."""
    used: set[str] = set()
    edits = sorted(
        ((name, edit) for name in guards for edit in GUARDS[name]), key=lambda pair: (pair[1].file, pair[1].function)
    )
    with ExitStack() as patches:
        statements: dict[str, tuple[str, list[str]]] = {}
        for (file, function), group in groupby(edits, key=lambda pair: (pair[1].file, pair[1].function)):
            pairs = list(group)
            names = [name for name, _ in pairs]
            if function:
                original, changed = _changed(_module(file), function, [edit for _, edit in pairs])
                patches.enter_context(_replaced(function, original, _noting(changed, names, used)))
            else:
                name = file.rpartition("/")[2].removesuffix(".sql")
                statements[name] = (_edited(statement(name), [edit for _, edit in pairs]), names)
        if statements:
            patches.enter_context(_replaced("statement", statement, _other_statement(statements, used)))
        yield
    assert used == set(guards), f"nothing came past {set(guards) - used}"


def _edited(text: str, edits: Sequence[Edit]) -> str:
    for edit in edits:
        assert text.count(edit.text) == 1, f"{edit.file} has no longer, or more than once: {edit.text}"
        text = text.replace(edit.text, edit.instead)
    return text


def _module(file: str) -> ModuleType:
    return importlib.import_module(f"genlock.{file.removesuffix('.py').replace('/', '.')}")


def _changed(module: ModuleType, function: str, edits: Sequence[Edit]) -> tuple[Any, Callable[..., Any]]:
    """The function as it is, and compiled again from its edited source."""
    original: Any = functools.reduce(getattr, function.split("."), module)
    source = _edited(inspect.getsource(original), edits)
    if source[0].isspace():
        source = f"if True:\n{source}"
    made: dict[str, Any] = {}
    exec(compile(source, f"<{function} without a guard>", "exec"), vars(module), made)  # noqa: S102 - our own code
    return original, made[original.__name__]


def _noting(function: Callable[..., Any], guards: Sequence[str], used: set[str]) -> Callable[..., Any]:
    @functools.wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        used.update(guards)
        return function(*args, **kwargs)

    return noting


def _other_statement(texts: dict[str, tuple[str, list[str]]], used: set[str]) -> Callable[[str], str]:
    def other(name: str) -> str:
        if name not in texts:
            return statement(name)
        text, guards = texts[name]
        used.update(guards)
        return text

    return other


@contextmanager
def _replaced(path: str, original: Any, other: Callable[..., Any]) -> Iterator[None]:
    """Put another function in the place of the original, wherever the service has it under its name."""
    *owner, name = path.split(".")
    modules = [module for key, module in sys.modules.items() if key.startswith("genlock.")]
    places: list[Any] = [getattr(module, owner[0], None) for module in modules] if owner else list(modules)
    holders = {id(place): place for place in places if getattr(place, name, None) is original}
    assert holders, f"nobody has {path}"
    with ExitStack() as patches:
        for holder in holders.values():
            patches.enter_context(patch.object(holder, name, other))
        yield
