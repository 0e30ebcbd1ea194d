"""`genlock held`: list and drop the commands that are held because of a record in trouble."""

import asyncio
import sys
from typing import Annotated

import typer

from genlock.cli.failure import USAGE, Failure, load_settings
from genlock.cli.messages import AmqpUrl, AsJson, Namespace
from genlock.cli.output import wants_json

app = typer.Typer(
    help="Look at held commands: a record that they need is in trouble, while others can be decided.\n\n"
    "They are tried again, and decided in their order as soon as the trouble is gone. Where it never will be, they are "
    "dropped.",
    short_help="Look at and drop commands that wait for a record in trouble.",
    no_args_is_help=True,
)

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Of the commands.", show_default=False)]
Record = Annotated[
    str | None,
    typer.Option("--record", metavar="KEY", help="All that wait for it, such as document/d1.", show_default=False),
]


@app.command(name="list")
def list_held(
    ids: Ids = None,
    *,
    record: Record = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List held commands with what each waits for and why, the oldest first.

    A command has the keys of its own records and of those in trouble; what comes later and touches one of these waits
    behind it. A table on a terminal; else, or with --json, one JSON object a line.
    """
    from genlock.cli import held_actions  # noqa: PLC0415 - --help does without it

    found = asyncio.run(held_actions.find(load_settings(), ids, record, limit))
    held_actions.print_held(found, as_json=wants_json(as_json=as_json))


@app.command(no_args_is_help=True)
def drop(
    ids: Ids = None,
    *,
    record: Record = None,
    every: Annotated[
        bool, typer.Option("--all", help="All held commands; needed where nothing else says which.")
    ] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Remove them for good, without a dead letter.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    amqp_url: AmqpUrl = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Give held commands up, for a record that can never be mended: they become dead letters, and are not decided.

    Those that wait behind them follow. genlock dead retry has a dropped command decided after all, later. Prints which
    commands were dropped. Asks first; without a terminal --yes is required.

    [bold]Examples[/bold]

      genlock held drop 0192f0c1-7b1e-7c3a-9d55-0242ac120002

      genlock held drop --record document/d1 --yes > dropped.jsonl
    """
    from genlock.cli import held_actions  # noqa: PLC0415 - --help does without it

    if not ids and record is None and not every:
        raise Failure("Say which held commands: by their ids, --record, or --all.", USAGE)
    if every and (ids or record is not None):
        raise Failure("--all means all held commands; leave out the ids and --record.", USAGE)
    if not yes and not sys.stdin.isatty():
        raise Failure("Not a terminal: pass --yes to confirm.", USAGE)
    settings = load_settings(amqp_url=amqp_url, namespace=namespace)
    chosen = asyncio.run(held_actions.find(settings, ids, record))
    if chosen and not yes and not held_actions.is_confirmed(chosen, discard=discard):
        raise Failure("Nothing was dropped.")
    asyncio.run(held_actions.drop(settings, chosen, discard=discard, as_json=wants_json(as_json=as_json)))
