"""What people see on a terminal, and what programs read elsewhere."""

import json
import sys
from collections.abc import Sequence
from typing import Any, assert_never

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genlock.schemas.base import JsonObject
from genlock.schemas.outcomes import Conflict, GenerationToken, Outcome, Rejected, Succeeded, Token

FILE_WIDTH = 200
"""Columns where the output is no terminal, so that each row of a table is one line for grep."""

OUTCOME_WIDTH, TYPE_WIDTH, SUBJECT_WIDTH = 9, 16, 36

EXIT_CODES: dict[type[Outcome], int] = {Succeeded: 0, Conflict: 3, Rejected: 4}
_STYLES: dict[type[Outcome], str] = {Succeeded: "green", Conflict: "yellow", Rejected: "red"}


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else FILE_WIDTH, highlight=False, markup=False)


def wants_json(*, as_json: bool) -> bool:
    """Programs read JSON: when asked for, and wherever nobody is looking."""
    return as_json or not sys.stdout.isatty()


class OutcomePrinter:
    """Prints outcomes as they come: rows of a table, or the full events as JSON Lines."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._console = console()
        self._empty = True

    def print(self, outcome: Outcome) -> None:
        if self._json:
            typer.echo(outcome.model_dump_json(exclude_unset=True))
            return
        if self._empty:
            self._row("outcome", "command", "subject", "", "bold")
            self._empty = False
        command, _, verdict = outcome.type.rpartition(".")
        self._row(verdict, command, plain(outcome.subject or ""), plain(explain(outcome)), _STYLES[type(outcome)])

    def _row(self, verdict: str, command: str, subject: str, why: str, style: str) -> None:
        # A table of one row, whose columns have the same widths each time: the next row is not known yet.
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(width=OUTCOME_WIDTH)
        table.add_column(width=TYPE_WIDTH, overflow="fold")
        # On a narrow terminal the subject gets less, and the explanation the rest.
        table.add_column(width=min(SUBJECT_WIDTH, self._console.width // 4), overflow="fold")
        table.add_column(ratio=1, overflow="fold")
        table.add_row(Text(verdict, style), Text(command), Text(subject), Text(why))
        self._console.print(table)


def explain(outcome: Outcome) -> str:
    """Say in a few words what a person wants to know first."""
    match outcome:
        case Succeeded(token=None):
            return f"{sum(map(len, (outcome.data.tokens or {}).values()))} records changed"
        case Succeeded(record=None, token=token):
            return f"deleted, {_token(token)}"
        case Succeeded(token=token):
            return _token(token)
        case Conflict(reason=reason, expected=expected, actual=actual, winner=winner):
            by = f", by {winner.type} from {winner.source}" if winner else ""
            others = len(outcome.data.failures or [()]) - 1
            more = f", and {others} more" if others else ""
            return f"{reason}: expected {_token(expected)}, actual {_token(actual)}{by}{more}"
        case Rejected(code=code, message=message, errors=errors):
            return " ".join([f"{code}: {message}", *(f"{error.path}: {error.message}." for error in errors)])
        case _:
            assert_never(outcome)


def _token(token: Token | None) -> str:
    if token is None:
        return "nothing"
    return f"generation {token.generation}" if isinstance(token, GenerationToken) else f"traversal {token.traversal}"


def print_record(record: BaseModel, *, as_json: bool) -> None:
    """Show the state of a record."""
    if wants_json(as_json=as_json):
        typer.echo(record.model_dump_json())
        return
    print_fields(record.model_dump(mode="json"))


def print_fields(members: JsonObject) -> None:
    """Show what an object holds, a field in each row of a table."""
    table = Table(show_header=False)
    for name, value in members.items():
        table.add_row(name, _value(value))
    console().print(table)


def print_rows(records: Sequence[JsonObject]) -> None:
    """Show objects, one in each row of a table."""
    names = list(dict.fromkeys(name for record in records for name in record))
    table = Table(*names)
    for record in records:
        table.add_row(*(_value(record.get(name), indent=None) for name in names))
    console().print(table)


def _value(value: Any, indent: int | None = 2) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=indent, ensure_ascii=False)
    return "\n".join(map(plain, text.split("\n")))


def plain(text: str) -> str:
    """Replace what a terminal would obey: a subject or a source is what a stranger wrote."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
