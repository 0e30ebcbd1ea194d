"""Output of dead letters: columns for people on a terminal, JSON for programs.

The contents of a dead letter are untrusted: control characters never reach a terminal.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.cells import set_cell_size
from rich.table import Table

from genlock.cli.output import console
from genlock.cli.terminal import plain, say, say_json
from genlock.consumers.operations.dead_letter_retry import Retried
from genlock.consumers.operations.dead_letters import DeadLetter, Summary
from genlock.schemas.base import JsonObject
from genlock.schemas.strictjson import parse, without_mark

TIME_WIDTH, HANDLE_WIDTH, TYPE_WIDTH, REASON_WIDTH = 20, 36, 24, 32

BODY_CHARACTERS_MAX = 65_536
"""How much of a body is printed on a terminal; --json prints all."""


def print_summaries(summaries: Sequence[Summary], *, as_json: bool) -> None:
    """Print one dead letter a line: in columns, or as JSON Lines."""
    if summaries and not as_json:
        say(_columns("died", "id", "type", "reason", "subject"))
    for told in summaries:
        if as_json:
            _print_json(_fields(told))
        else:
            subject = told.subject if told.commands <= 1 else f"({told.commands} commands)"
            say(_columns(_moment(told.died), told.handle, told.type, told.reason, subject))


def print_retried(dead_letter: Summary, results: Iterable[Retried], *, as_json: bool) -> None:
    """Print the result of each command of a dead letter, or the result of a dry run."""
    for retried in results:
        if as_json:
            told = {
                "id": retried.original_id,
                "result": retried.result,
                "detail": retried.detail,
                "as": retried.command_id,
            }
            _print_json(_fields(dead_letter) | told)
            continue
        text = f"{retried.result}: {retried.detail}" if retried.detail else str(retried.result)
        if retried.command_id != retried.original_id:
            text += f", as {retried.command_id}"
        name = retried.original_id or dead_letter.handle
        say("  ".join([_cell(name, HANDLE_WIDTH), _cell(dead_letter.type, TYPE_WIDTH), plain(text)]))


def print_dead_letter(dead_letter: DeadLetter, *, as_json: bool) -> None:
    """Print a dead letter with all its properties and its body."""
    delivery, fields = dead_letter.delivery, _fields(dead_letter.summary)
    # A missing property reads as an empty text.
    properties = {name: value for name, value in delivery.properties if value not in (None, "") and name != "headers"}
    headers = delivery.properties.headers or {}
    if as_json:
        told = {"routing_key": delivery.routing_key, "properties": properties, "headers": headers}
        _print_json(fields | told | _body_fields(dead_letter.body))
        return
    table = Table(show_header=False)
    for name, value in {**fields, "routing_key": delivery.routing_key}.items():
        if value not in (None, ""):
            table.add_row(name, plain(str(value)))
    for title, values in (("property", properties), ("header", headers)):
        for name, value in values.items():
            table.add_row(plain(f"{title} {name}"), plain(_text(value)))
    console().print(table)
    text = _readable(dead_letter.body)
    say(text[:BODY_CHARACTERS_MAX])
    if len(text) > BODY_CHARACTERS_MAX:
        say(f"… and {len(text) - BODY_CHARACTERS_MAX:,} more characters; --json prints all.", err=True)


def _fields(told: Summary) -> JsonObject:
    return {
        "handle": told.handle,
        "id": told.command_id,
        "type": told.type,
        "subject": told.subject,
        "source": told.source,
        "reason": told.reason,
        "died": None if told.died is None else told.died.astimezone(UTC).isoformat(),
        "bytes": told.size,
        "commands": told.commands,
    }


def _body_fields(body: bytes) -> JsonObject:
    """The unchanged body: as text if that is lossless."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def _readable(body: bytes) -> str:
    """The body for people: indented JSON, if indenting loses nothing."""
    text = without_mark(body).decode(errors="replace")
    try:
        parsed = parse(text)
    except ValueError:
        return text
    return text if parsed.violations else json.dumps(parsed.value, indent=2, ensure_ascii=False)


def _print_json(value: JsonObject) -> None:
    say_json(json.dumps(value, default=_text))


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode(errors="replace")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _columns(died: str, handle: str, command_type: str, reason: str, subject: str) -> str:
    cells = (
        _cell(died, TIME_WIDTH),
        _cell(handle, HANDLE_WIDTH),
        _cell(command_type, TYPE_WIDTH),
        _cell(reason, REASON_WIDTH),
        plain(subject),
    )
    return "  ".join(cells).rstrip()


def _cell(text: str, width: int) -> str:
    return set_cell_size(plain(text), width)


def _moment(died: datetime | None) -> str:
    return "-" if died is None else f"{died.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
