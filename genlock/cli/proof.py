"""`genlock verify`: records, history and ledger held against one another."""

import asyncio
import shutil
import sys
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import asyncpg
import typer
from rich.table import Table

from genlock.cli.failure import Failure, load_settings
from genlock.cli.output import console, plain

if TYPE_CHECKING:
    from genlock.service.database.verify import Begun

TICK_S = 0.5
REPORT_AFTER_S = 5.0
"""From when on a check is told of where nobody looks at a terminal."""

CLEAR_LINE = "\r\x1b[K"


def verify(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what is wrong.")] = False,
) -> None:
    """Hold records, history and ledger against one another: an update that was lost or doubled leaves a gap there.

    Each line says what was proved, and nothing beyond it is: the history has the commands and tokens of a record, and
    not what the record held. Reads only, beside a live service if need be. Exits 1 where something is wrong, and names
    the first records. What is being checked is told on stderr.
    """
    # For the same reason as below.
    from genlock.service.database.lock_waits import LockedError  # noqa: PLC0415
    from genlock.service.database.migrate import SchemaError  # noqa: PLC0415
    from genlock.service.database.sessions import PoolerError  # noqa: PLC0415

    url = load_settings().database
    try:
        wrong = asyncio.run(_verify(url, quiet=quiet))
    except (SchemaError, LockedError, PoolerError) as error:
        raise Failure(str(error)) from error
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Failure(f"The database could not be read: {error}.") from error
    raise typer.Exit(1 if wrong else 0)


async def _verify(url: str, *, quiet: bool) -> int:
    # Only this command needs it.
    from genlock.service.database.migrate import check_schema  # noqa: PLC0415
    from genlock.service.database.verify import remembered_since  # noqa: PLC0415
    from genlock.service.database.verify import verify as checks  # noqa: PLC0415

    await check_schema(url)
    progress = Progress()
    telling = asyncio.create_task(progress.run())
    wrong = made = 0
    try:
        async for checked in checks(url, progress.begun):
            progress.ended()
            made += 1
            wrong += bool(checked.offences)
            if checked.offences or not quiet:
                verdict = "WRONG" if checked.offences else "holds"
                console().print(f"{verdict}  {checked.seconds:7.2f} s  {plain(checked.claim)}")
            if checked.offences:
                table = Table("record", "found")
                for offence in checked.offences:
                    table.add_row(plain(offence.record), plain(offence.found))
                console().print(table)
    finally:
        progress.ended()
        telling.cancel()
    if not quiet:
        console().print(f"{made - wrong} of {made} claims hold.")
        console().print(_reach(await remembered_since(url)))
    return wrong


def _reach(since: datetime | None) -> str:
    """From where on the proof goes, and where it ends."""
    history = (
        "The history of every record was checked from its first command on; what a record holds (a body, traits, a "
        "template, who has which allocation) is not in the history, and was not."
    )
    if since is None:
        return f"{history} The ledger remembers no command."
    return f"{history} The ledger remembers commands decided after {since:%Y-%m-%dT%H:%M:%SZ}."


class Progress:
    """Says on stderr which check is being made, and for how long: at all times on a terminal, else of long ones."""

    def __init__(self) -> None:
        self._begun: Begun | None = None
        self._since = 0.0
        self._next_s = 0.0

    def begun(self, begun: "Begun") -> None:
        self._begun, self._since, self._next_s = begun, monotonic(), REPORT_AFTER_S
        self._tell()

    def ended(self) -> None:
        self._begun = None
        if sys.stderr.isatty():
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()

    async def run(self) -> None:
        """Say it again and again, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self._tell()

    def _tell(self) -> None:
        if self._begun is None:
            return
        seconds = monotonic() - self._since
        text = f"{self._begun.number} of {self._begun.count}, {seconds:.0f} s: {self._begun.claim}"
        if sys.stderr.isatty():
            sys.stderr.write(CLEAR_LINE + text[: shutil.get_terminal_size().columns - 1])
            sys.stderr.flush()
        elif seconds >= self._next_s:
            # Twice as long each time, so that a check of an hour is no hundred lines.
            self._next_s *= 2
            typer.echo(f"genlock: {text}", err=True)
