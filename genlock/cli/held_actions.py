"""The actions of `genlock held`."""

import uuid
from collections.abc import Sequence

import typer
from rich.table import Table

from genlock.cli.connections import broker, database, identity_of
from genlock.cli.failure import Failure
from genlock.cli.output import console
from genlock.cli.terminal import plain, say, say_json
from genlock.consumers.operations.held_drop import NotDroppedError, drop_held
from genlock.schemas.base import compact_json
from genlock.service.ledger.held import Listed, listed
from genlock.service.settings import Settings

TIMEOUT_S = 60.0

SHOWN_BEFORE_DROP = 20
"""How many held commands are shown before the question whether to drop them."""


async def find(
    settings: Settings, ids: Sequence[str] | None, record: str | None, limit: int | None = None
) -> list[Listed]:
    """Find held commands: all, or those that are meant. Raises Failure for an id that no held command has."""
    wanted = {command_id.lower() for command_id in ids} if ids else None
    known = None if wanted is None else [command_id for command_id in wanted if _is_id(command_id)]
    async with database(settings, TIMEOUT_S) as pool:
        found = await listed(pool, TIMEOUT_S, limit, command_ids=known, record=record)
    if wanted and (missing := wanted - {held.command_id for held in found}) and len(found) != limit:
        raise Failure("\n".join(f"There is no held command {plain(one)}." for one in sorted(missing)))
    return found


async def drop(settings: Settings, chosen: Sequence[Listed], *, discard: bool, as_json: bool) -> None:
    dropped: Sequence[Listed] = []
    if chosen:
        async with (
            database(settings, TIMEOUT_S) as pool,
            broker(settings, identity=await identity_of(settings)) as session,
        ):
            try:
                dropped = await drop_held(session, pool, settings, chosen, discard=discard)
            except NotDroppedError as error:
                raise Failure(f"The broker did not take a dead letter: {error}.") from error
    if as_json:
        print_held(dropped, as_json=True)
    say(f"Dropped {_amount(len(dropped))}.", err=True)
    if gone := len(chosen) - len(dropped):
        say(f"{_amount(gone)} had been decided or dropped meanwhile.", err=True)


def is_confirmed(chosen: Sequence[Listed], *, discard: bool) -> bool:
    """Show the held commands to drop, and ask."""
    print_held(chosen[:SHOWN_BEFORE_DROP], as_json=False)
    if len(chosen) > SHOWN_BEFORE_DROP:
        say(f"… and {len(chosen) - SHOWN_BEFORE_DROP:,} more")
    how = "for good" if discard else "into the dead letters"
    return typer.confirm(f"Drop {_amount(len(chosen))} {how}?", err=True)


def print_held(found: Sequence[Listed], *, as_json: bool) -> None:
    """Print held commands: in a table, or as JSON Lines."""
    table = Table("command", "type", "held since", "tries", "waits for", "why")
    for held in found:
        since = held.since.isoformat(timespec="seconds")
        if as_json:
            members = {
                "command_id": held.command_id,
                "type": held.type,
                "since": since,
                "tries": held.tries,
                "records": held.records,
                "why": held.why,
            }
            say_json(compact_json(members))
        else:
            waits_for = "\n".join(map(plain, held.records))
            table.add_row(held.command_id, plain(held.type), since, str(held.tries), waits_for, plain(held.why))
    if not as_json:
        console().print(table if found else "Nothing is held.")


def _amount(count: int) -> str:
    return "1 held command" if count == 1 else f"{count:,} held commands"


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
