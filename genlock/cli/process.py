"""`genlock serve`, `migrate`, `lanes`, `settings` and `demo`: what has to do with the service itself."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from genlock.cli.failure import Failure, load_settings
from genlock.cli.messages import read_commands, send_all
from genlock.cli.output import OutcomePrinter, console
from genlock.cli.settings_table import address, rows
from genlock.schemas.base import JsonObject
from genlock.service.settings import LANES_MAX

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
    # Imported here, because it takes as long as all the rest, and --help and send do without it.
    from genlock.consumers import process  # noqa: PLC0415

    raise typer.Exit(process.main(load_settings(), workers))


def migrate() -> None:
    """Bring the schema of the database up to date."""
    # For the same reason as in serve.
    import asyncpg  # noqa: PLC0415

    from genlock.service.migrate import SchemaError, migrate  # noqa: PLC0415

    url = load_settings().database_url
    try:
        applied = asyncio.run(migrate(url.get_secret_value()))
    except SchemaError as error:
        raise Failure(str(error)) from error
    except ValueError as error:
        # The error may quote a piece of a password.
        raise Failure("The setting GENLOCK_DATABASE_URL is not a URL that PostgreSQL could have.") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        why = str(error) or type(error).__name__
        raise Failure(f"PostgreSQL at {address(url)} cannot be migrated: {why}.") from error
    for migration in applied:
        typer.echo(f"Applied {migration.version:04} {migration.name.replace('_', ' ')}.")
    if not applied:
        typer.echo("The schema is up to date.")


def lanes(
    number: Annotated[int, typer.Argument(metavar="N", min=1, max=LANES_MAX, help="How many; 1 is one inbox.")],
) -> None:
    """Change how many lanes the broker has, while no replica runs. Commands may come meanwhile; none is lost.

    Where it has so many already nothing happens. A change that was interrupted is finished by doing it again.
    """
    # For the same reason as in serve.
    from genlock.consumers.lanes import LanesInUseError, change_lanes  # noqa: PLC0415
    from genlock.consumers.session import BROKER_ERRORS  # noqa: PLC0415
    from genlock.consumers.topology import TopologyError  # noqa: PLC0415

    settings = load_settings(lanes=number)
    try:
        moved = asyncio.run(change_lanes(settings))
    except (LanesInUseError, TopologyError) as error:
        raise Failure(str(error)) from error
    except BROKER_ERRORS as error:
        why = str(error) or type(error).__name__
        raise Failure(f"RabbitMQ at {address(settings.amqp_url)} could not do it: {why}.") from error
    for name, count in moved.items():
        typer.echo(f"Moved {count} commands out of {name}.")
    typer.echo(
        f"{settings.namespace} has {number} lanes now." if number > 1 else f"{settings.namespace} has one inbox now."
    )


def settings(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every setting: its variable, its value with secrets masked, its default and what it is for."""
    found = rows(load_settings())
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in found], indent=2))
        return
    table = Table("Variable", "Value", "Default", "Description")
    for row in found:
        # A value that was set stands out from one that is the default.
        style = None if row.value == row.default else "bold"
        table.add_row(row.variable, str(row.value), str(row.default), row.description, style=style)
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

    commands = None if file is None else read_commands(file.read_bytes())
    try:
        if commands is None:
            raise typer.Exit(demo.main())
        with servers.running() as running:
            asyncio.run(_play(running, commands))
    except servers.ServersUnavailable as error:
        raise Failure(str(error)) from error


async def _play(running: "Servers", commands: list[JsonObject]) -> None:
    from genlock.demo.stage import staged  # noqa: PLC0415 - as in demo

    async with staged(running) as stage:
        await send_all(stage.client, commands, OutcomePrinter(as_json=False).print)
