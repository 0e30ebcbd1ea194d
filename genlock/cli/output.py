"""Output: tables for people on a terminal, JSON for programs."""

import json
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, assert_never

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genlock.cli.terminal import plain, say_json
from genlock.schemas.base import JsonObject, compact_json
from genlock.schemas.faults import FieldError
from genlock.schemas.outcomes import (
    Conflict,
    GenerationToken,
    Outcome,
    OutcomeEvent,
    Rejected,
    Succeeded,
    Token,
    UnknownEvent,
)

FILE_WIDTH = 200
"""The width in columns if the output is no terminal: each row of a table is one line for grep."""

OUTCOME_WIDTH, TYPE_WIDTH, SUBJECT_WIDTH = 9, 16, 36

DATA_WIDTH = 200
"""The most characters of an unknown event's data."""

FAULTS_SHOWN = 10
"""How many faults of a rejection or an error are shown to a person."""

EXIT_CODES: dict[type[Outcome], int] = {Succeeded: 0, Conflict: 3, Rejected: 4}
_STYLES: dict[type[OutcomeEvent], str] = {Succeeded: "green", Conflict: "yellow", Rejected: "red", UnknownEvent: ""}


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else FILE_WIDTH, highlight=False, markup=False)


def wants_json(*, as_json: bool) -> bool:
    """Tell whether to print JSON: if it is requested, or the output is no terminal."""
    return as_json or not sys.stdout.isatty()


class OutcomePrinter:
    """Prints each outcome at once: as a row of a table, or the full event as a JSON line."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._console = console()
        self._empty = True

    def print(self, outcome: Outcome | UnknownEvent) -> None:
        if self._json:
            say_json(outcome.model_dump_json(exclude_unset=True))
            return
        if self._empty:
            self._row("outcome", "command", "subject", "", "bold")
            self._empty = False
        command, _, verdict = outcome.type.rpartition(".")
        self._row(
            plain(verdict),
            plain(command),
            plain(outcome.subject or ""),
            plain(explain(outcome)),
            _STYLES[type(outcome)],
        )

    def _row(self, verdict: str, command: str, subject: str, why: str, style: str) -> None:
        # A table of one row with fixed column widths, because the next row is not known yet.
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(width=OUTCOME_WIDTH)
        table.add_column(width=TYPE_WIDTH, overflow="fold")
        # On a narrow terminal the subject is narrower, and the explanation gets the rest.
        table.add_column(width=min(SUBJECT_WIDTH, self._console.width // 4), overflow="fold")
        table.add_column(ratio=1, overflow="fold")
        table.add_row(Text(verdict, style), Text(command), Text(subject), Text(why))
        self._console.print(table)


def explain(outcome: Outcome | UnknownEvent) -> str:
    """The essence of an outcome in a few words."""
    match outcome:
        case Succeeded(token=None):
            return f"{sum(map(len, (outcome.data.tokens or {}).values()))} records changed"
        case Succeeded(record=None, token=token):
            return f"deleted, {_token(token)}"
        case Succeeded(token=token):
            return _token(token)
        case Conflict(reason=reason, expected=expected, actual=actual, winner=winner):
            by = f", by {winner.type} from {winner.source}" if winner else ""
            by += f" (user {winner.user})" if winner and winner.user else ""
            others = len(outcome.data.failures or [()]) - 1
            more = f", and {others} more" if others else ""
            return f"{reason}: expected {_token(expected)}, actual {_token(actual)}{by}{more}"
        case Rejected(code=code, message=message, errors=errors):
            return " ".join([f"{code}: {message}", *told(message, errors)])
        case UnknownEvent(data=data):
            return textwrap.shorten(compact_json(data), DATA_WIDTH, placeholder=" …")
        case _:
            assert_never(outcome)


def told(message: str, errors: Sequence[FieldError]) -> list[str]:
    """A sentence for each of the first faults that says more than the message."""
    sentences = []
    for error in errors[:FAULTS_SHOWN]:
        near = f" Did you mean {' or '.join(error.suggestions)}?" if error.suggestions else ""
        if near or error.message not in message:
            sentences.append(f"{error.path}{': ' * bool(error.path)}{error.message.rstrip('.')}.{near}")
    more = len(errors) - FAULTS_SHOWN
    return [*sentences, f"And {more} more; --json shows them."] if more > 0 else sentences


def _token(token: Token | None) -> str:
    if token is None:
        return "nothing"
    return f"generation {token.generation}" if isinstance(token, GenerationToken) else f"traversal {token.traversal}"


def print_record(record: BaseModel | JsonObject, *, as_json: bool) -> None:
    """Show the state of a record."""
    members = record.model_dump(mode="json") if isinstance(record, BaseModel) else record
    if wants_json(as_json=as_json):
        say_json(compact_json(members))
        return
    print_fields(members)


def print_fields(members: JsonObject) -> None:
    """Print an object, one field in each row of a table."""
    table = Table(show_header=False)
    for name, value in members.items():
        table.add_row(plain(name), _value(value))
    console().print(table)


def print_rows(records: Sequence[JsonObject]) -> None:
    """Print objects, one in each row of a table."""
    names = list(dict.fromkeys(name for record in records for name in record))
    table = Table(*map(plain, names))
    for record in records:
        table.add_row(*(_value(record.get(name), indent=None) for name in names))
    console().print(table)


def _value(value: Any, indent: int | None = 2) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=indent, ensure_ascii=False)
    return "\n".join(map(plain, text.split("\n")))
