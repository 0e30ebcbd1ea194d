"""`genlock serve`, `migrate`, `settings` and `demo`: the commands about the service itself."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from genlock.cli.failure import Failure, load_settings, warn_of_unknown_variables
from genlock.cli.messages import read_commands, send_all
from genlock.cli.output import OutcomePrinter, console
from genlock.cli.settings_table import address, rows
from genlock.cli.terminal import say, say_json
from genlock.schemas.base import JsonObject

if TYPE_CHECKING:
    from genlock.servers import Servers


def serve(
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that share the work; one for each core is plenty.")
    ] = 1,
) -> None:
    """Serve: decide commands and answer queries until SIGTERM or Ctrl-C.

    Run genlock migrate first. Any number of replicas may serve at the same time.
    """
    # Imported here: this import takes as long as all others, and --help and send do not need it.
    from genlock.consumers.process import serve as process  # noqa: PLC0415

    raise typer.Exit(process.serve(load_settings(warn=False), workers))


def migrate() -> None:
    """Bring the schema of the database up to date, and grant GENLOCK_SERVICE_ROLE what the service needs."""
    # For the same reason as in serve.
    import asyncpg  # noqa: PLC0415

    from genlock.cli.connections import why  # noqa: PLC0415
    from genlock.consumers.process import logs  # noqa: PLC0415
    from genlock.service.database.lock_waits import LockedError  # noqa: PLC0415
    from genlock.service.database.migrate import SchemaError, migrate  # noqa: PLC0415
    from genlock.service.database.poolers import PoolerError  # noqa: PLC0415

    settings = load_settings(warn=False)
    logs.configure(settings)
    logs.warn_of_unknown_variables()
    url = settings.database_url
    try:
        applied = asyncio.run(migrate(settings.database, settings.service_role, settings.migrate_wait_s))
    except (SchemaError, LockedError, PoolerError) as error:
        raise Failure(str(error)) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise Failure(f"PostgreSQL at {address(url)} says: {error}. To migrate, connect as the owner.") from error
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Failure(f"PostgreSQL at {address(url)} cannot be migrated: {why(error)}.") from error
    for migration in applied:
        say(f"Applied {migration.version:04} {migration.name.replace('_', ' ')}.")
    if not applied:
        say("The schema is up to date.")


def settings(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every setting: its variable, its value with secrets masked, where that is from, its default and its use."""
    found = rows(load_settings())
    if as_json:
        say_json(json.dumps([row._asdict() for row in found], indent=2))
        return
    table = Table("Variable", "Value", "From", "Default", "Description")
    for row in found:
        # Highlight values that differ from the default.
        style = None if row.value == row.default else "bold"
        table.add_row(row.variable, str(row.value), row.source, str(row.default), row.description, style=style)
    console().print(table)


def demo(
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", exists=True, dir_okay=False, help="Commands of your own, as for send."),
    ] = None,
) -> None:
    """Show a lost update being refused, with real servers; they are started for it and gone in the end.

    With --file your own commands are sent in order instead, and their outcomes printed, whatever they are.
    """
    # For the same reason as in serve.
    from genlock import demo, servers  # noqa: PLC0415
    from genlock.service.database.poolers import PoolerError  # noqa: PLC0415

    warn_of_unknown_variables()
    commands = None if file is None else read_commands(file.read_bytes())
    servers.unwind_at_signals()
    try:
        if commands is None:
            raise typer.Exit(demo.main())
        with servers.running() as running:
            servers.run_to_end(_play(running, commands))
    except (servers.ServersUnavailable, PoolerError) as error:
        raise Failure(str(error)) from error


async def _play(running: "Servers", commands: list[JsonObject]) -> None:
    from genlock.demo.deployment import deployed  # noqa: PLC0415 - as in demo

    async with deployed(running) as deployment:
        await send_all(deployment.client, commands, OutcomePrinter(as_json=False).print)
