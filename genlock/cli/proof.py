"""`genlock verify`: compare records, history and ledger."""

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
from genlock.cli.output import console
from genlock.cli.terminal import plain, say

if TYPE_CHECKING:
    from genlock.service.database.verify import Begun

TICK_S = 0.5
REPORT_AFTER_S = 5.0
"""After this time a running check is reported if the output is no terminal."""

CLEAR_LINE = "\r\x1b[K"


def verify(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only violations.")] = False,
) -> None:
    """Hold records, history and ledger against one another.

    An update that was lost or doubled leaves a gap there, and what was changed by hand does not fit its hash. Each
    line says what was proved, and nothing more. The command only reads, and may run beside a live service. It exits
    with 1 if there is a violation, and names the first records. Its progress is on stderr.
    """
    # For the same reason as below.
    from genlock.service.database.lock_waits import LockedError  # noqa: PLC0415
    from genlock.service.database.migrate import SchemaError  # noqa: PLC0415
    from genlock.service.database.poolers import PoolerError  # noqa: PLC0415

    url = load_settings().database
    try:
        wrong = asyncio.run(check(url, Progress(), quiet=quiet))
    except (SchemaError, LockedError, PoolerError) as error:
        raise Failure(str(error)) from error
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Failure(f"The database could not be read: {error}.") from error
    raise typer.Exit(1 if wrong else 0)


async def check(url: str, progress: "Progress", *, quiet: bool) -> int:
    """Print what `genlock verify` finds, and return how many claims do not hold."""
    # Imported here: only this command needs it.
    from genlock.service.database.migrate import check_schema  # noqa: PLC0415
    from genlock.service.database.verify import remembered_since  # noqa: PLC0415
    from genlock.service.database.verify import verify as checks  # noqa: PLC0415
    from genlock.service.kinds.registry import KINDS  # noqa: PLC0415

    await check_schema(url)
    telling = asyncio.create_task(progress.run())
    wrong = made = 0
    try:
        async for checked in checks(url, KINDS, progress.begun):
            progress.ended()
            made += 1
            wrong += bool(checked.violations)
            if checked.violations or not quiet:
                verdict = "WRONG" if checked.violations else "holds"
                console().print(f"{verdict}  {checked.seconds:7.2f} s  {plain(checked.claim)}")
            if checked.violations:
                table = Table("record", "found")
                for violation in checked.violations:
                    table.add_row(plain(violation.record), plain(violation.found))
                console().print(table)
    finally:
        progress.ended()
        telling.cancel()
    if not quiet:
        console().print(f"{made - wrong} of {made} claims hold.")
        console().print(_reach(await remembered_since(url)))
    return wrong


def _reach(since: datetime | None) -> str:
    """The extent of the proof, in words."""
    history = (
        "The history of every record was checked from its first command on; the content of a record (a body, "
        "traits, a template, allocations) where this version or a later one wrote it last."
    )
    if since is None:
        return f"{history} The ledger remembers no command."
    return f"{history} The ledger remembers commands decided after {since:%Y-%m-%dT%H:%M:%SZ}."


class Progress:
    """Reports the running check and its duration on stderr. Without a terminal only long checks are reported."""

    def __init__(self, tick_s: float = TICK_S, report_after_s: float = REPORT_AFTER_S) -> None:
        self._tick_s = tick_s
        self._report_after_s = report_after_s
        self._begun: Begun | None = None
        self._since = 0.0
        self._next_s = 0.0

    def begun(self, begun: "Begun") -> None:
        self._begun, self._since, self._next_s = begun, monotonic(), self._report_after_s
        self._tell()

    def ended(self) -> None:
        self._begun = None
        if sys.stderr.isatty():
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()

    async def run(self) -> None:
        """Report repeatedly until cancelled."""
        while True:
            await asyncio.sleep(self._tick_s)
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
            # The interval doubles, so that a check of an hour does not print a hundred lines.
            self._next_s *= 2
            say(f"genlock: {text}", err=True)
