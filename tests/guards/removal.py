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
"""The tables of records, each with the column that its fence compares."""

KINDS = {table: f"service/kinds/{table}" for table in RECORDS} | {"consumers": "service/kinds/allocations"}
"""The packages that these tables belong to."""

PUBLISHING, SETTLING = "CommandConsumer._publish", "CommandConsumer._settle_batches"
NEXT = "\n        "
"""The next line there."""

GUARDS: dict[str, tuple[Edit, ...]] = {
    "the expected token": (
        Edit("service/deciding/generations.py", "if expected == actual:", "if True:", function="check"),
    ),
    "the fence": tuple(
        Edit(f"{KINDS[table]}/sql/update_{table}.sql", f"AND {table}.{column} = new.expected_{column}")
        for table, column in RECORDS.items()
    ),
    "row locks": tuple(
        Edit(f"{KINDS[table]}/sql/{verb}_{table}.sql", lock)
        for table in RECORDS
        for verb, lock in (("lock", "FOR NO KEY UPDATE"), ("share", "FOR NO KEY UPDATE"), ("share", "FOR SHARE"))
    ),
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
    "the database's identity": (
        Edit("consumers/amqp/declare.py", "if topology.identity is not None:", "if False:", function="_declare"),
    ),
    "trusting its own signature alone": (
        Edit(
            "consumers/commands/authors.py",
            "user is not None and user == self.user and headers",
            "headers",
            function="Reader.author_of",
        ),
    ),
    "tokens never go back": (
        Edit(
            "service/kinds/documents/rules.py",
            "else record.generation + 1",
            "else 0 if record.deleted else record.generation + 1",
            function="_stored",
        ),
    ),
    "the time under the locks": (
        Edit("service/deciding/decide.py", "now = locked_at or told", "now = told", function="Decider._decide"),
    ),
    "the steady clock": (
        Edit("service/deciding/decide.py", "self._steady.note(asked_s, now)", "0.0", function="Decider._decide"),
    ),
    "ages seen to pass": (
        Edit(
            "service/ledger/horizon.py",
            "if self._found[0][0] > now_s - self._seen_s:",
            "if False:",
            function="Horizon.of",
        ),
        Edit(
            "service/ledger/horizon.py",
            "begun + (now_s - begun_s) * self._pace",
            'float("inf")',
            function="Horizon.of",
        ),
    ),
    "known ids are answered": (
        Edit(
            "service/deciding/decide.py",
            "decided, told, holding = await ledger.find_now(connection, {command.id for command in commands})",
            "decided, told, holding = await ledger.find_now(connection, set())",
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
        Edit(
            "service/kinds/providers/tree_rows.py",
            'footprint.change("provider", *(trees.root(provider_id) for provider_id in moves & trees.parents.keys()))',
            "pass",
            function="TreeRows.find",
        ),
        Edit(
            "service/kinds/providers/tree_rows.py",
            'if not state.footprint.may_change(("provider", trees.root(provider_id))):',
            "if False:",
            function="TreeRows.read",
        ),
    ),
    "roots are found again": (
        Edit(
            "service/kinds/providers/tree_rows.py",
            'if not state.footprint.may_change(("provider", trees.root(provider_id))):',
            "if False:",
            function="TreeRows.read",
        ),
    ),
    "halving": (
        Edit(
            "service/deciding/isolation.py",
            "half = len(commands) // 2",
            "raise error",
            function="Isolation.isolate",
        ),
    ),
    "experiments": (
        Edit(
            "service/deciding/isolation.py",
            "if records is not None or isinstance(error, LockedError):",
            "if False:",
            function="Isolation._judge",
        ),
    ),
    "keeping held commands": (
        Edit(
            "consumers/commands/deciding.py",
            "await self.patiently(partial(self._held.add, held_messages(deliveries, held)), len(held))",
            "pass",
            function="BatchDecider._hold",
        ),
    ),
    "the place behind held ones": (
        Edit("service/deciding/decide.py", "if holding and heed_held:", "if False:", function="Decider._decide"),
    ),
    "strict UTF-8": (
        Edit("schemas/decode.py", "text = body.decode()", 'text = body.decode(errors="replace")', function="_read"),
    ),
    "holding": (
        Edit(
            "consumers/commands/deciding.py",
            "self._activity.metrics.held()",
            "raise ConnectionError(str(trouble)) from trouble",
            function="BatchDecider.patiently",
        ),
    ),
    "keeping lanes": (
        Edit(
            "consumers/commands/consumer.py",
            "await self._registration.take()",
            "self._decider.cancel = self._registration.cancel\n        await self._registration.take()",
            function="CommandConsumer.start",
        ),
        Edit(
            "consumers/commands/deciding.py",
            "self._activity.metrics.held()",
            "await self.cancel()",
            function="BatchDecider.patiently",
        ),
    ),
    "keeping records apart": (
        Edit(
            "consumers/commands/overlap.py",
            " and all(map(footprint.disjoint, self._under_way))",
            function="ConcurrentBatches._has_room",
        ),
    ),
    "publishing before acknowledging": (
        Edit("consumers/commands/consumer.py", "await self._settle(batch, dead_letters)", "pass", function=SETTLING),
        Edit(
            "consumers/commands/consumer.py",
            "publishing = group",
            f"await self._settle(batch, ()){NEXT}self._failpoint(Step.SETTLED){NEXT}publishing = group",
            function=PUBLISHING,
        ),
    ),
    "confirming after publishing": (
        Edit(
            "consumers/commands/consumer.py",
            "publishing = group",
            f"self._confirmations.add(batch.outcomes.batch_ids){NEXT}await self._confirmations.flush(){NEXT}"
            "publishing = group",
            function=PUBLISHING,
        ),
    ),
    "keeping refused messages": (
        Edit(
            "consumers/commands/publishing.py",
            "await self._keep(refused)",
            "pass",
            function="BatchPublisher.publish",
        ),
    ),
    "removing after publishing": (
        Edit(
            "consumers/operations/dead_letter_retry.py",
            "results = [",
            "await queue.remove(delivery.tag)\n        results = [",
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
    assert holders, f"nothing holds {path}"
    with ExitStack() as patches:
        for holder in holders.values():
            patches.enter_context(patch.object(holder, name, other))
        yield
