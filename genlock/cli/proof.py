"""`genlock verify`: proof from the tables that nothing was lost or doubled."""

import asyncio
from typing import Annotated

import asyncpg
import typer
from rich.table import Table

from genlock.cli.failure import Failure, load_settings
from genlock.cli.output import console, plain


def verify(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what is wrong.")] = False,
) -> None:
    """Prove from history, ledger and tables that no update was lost or doubled.

    Reads only, beside a live service if need be. Exits 1 where something is wrong, and names the first records.
    """
    url = load_settings().database_url.get_secret_value()
    try:
        wrong = asyncio.run(_verify(url, quiet=quiet))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Failure(f"The database could not be read: {error}.") from error
    raise typer.Exit(1 if wrong else 0)


async def _verify(url: str, *, quiet: bool) -> int:
    from genlock.service.verify import verify as checks  # noqa: PLC0415 - only this command needs it

    wrong = made = 0
    async for checked in checks(url):
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
    if not quiet:
        console().print(f"{made - wrong} of {made} claims hold.")
    return wrong
