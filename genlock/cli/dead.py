"""`genlock dead`: list, show, retry and drop dead letters."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from genlock.cli.failure import USAGE, Failure, load_settings
from genlock.cli.messages import AmqpUrl, AsJson, Namespace
from genlock.cli.moments import check_span, moment
from genlock.consumers.operations.dead_letters import Selection

app = typer.Typer(
    help="Look at, retry and drop dead letters: messages that could not be decided, or broke the service.\n\n"
    "The name of a dead letter is its command's id, or the hash of its body if it has no id. While one of these "
    "commands reads the queue it holds the dead letters, and another has to wait.",
    short_help="Look at, retry and drop messages that could not be decided.",
    no_args_is_help=True,
)

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As list shows them.", show_default=False)]
Reason = Annotated[
    str | None,
    typer.Option(
        "--reason", metavar="WHY", help="Its beginning, or a pattern: delivery_limit, 'not JSON*'.", show_default=False
    ),
]
CommandType = Annotated[
    str | None,
    typer.Option("--type", metavar="PATTERN", help="Of the command, such as 'document.*'.", show_default=False),
]
Since = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        parser=moment,
        metavar="TIME",
        help="Died at 2026-01-31T12:00:00Z, 2h ago, or later.",
        show_default=False,
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", parser=moment, metavar="TIME", help="Died before that.", show_default=False),
]
Limit = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="At most so many.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All dead letters; needed where nothing else says which.")]


@app.command(name="list")
def list_dead_letters(
    ids: Ids = None,
    *,
    reason: Reason = None,
    command_type: CommandType = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    amqp_url: AmqpUrl = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, in the order of the queue.

    [bold]Examples[/bold]

      genlock dead list --since 2h

      genlock dead list --reason 'not JSON' --json
    """
    from genlock.cli import dead_actions  # noqa: PLC0415 - --help does without it

    selection = _selection(ids, reason, command_type, since, until)
    settings = load_settings(amqp_url=amqp_url, namespace=namespace)
    asyncio.run(dead_actions.list_dead_letters(settings, selection, limit, as_json=as_json))


@app.command(no_args_is_help=True)
def show(
    dead_letter_id: Annotated[str, typer.Argument(metavar="ID", help="As list shows it.")],
    *,
    amqp_url: AmqpUrl = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Show all that a dead letter has: why and when it died, its properties, its headers and its body.

    Where several dead letters have the same id, all are shown.

    [bold]Example[/bold]

      genlock dead show body-2c26b46b68ff
    """
    from genlock.cli import dead_actions  # noqa: PLC0415 - --help does without it

    settings = load_settings(amqp_url=amqp_url, namespace=namespace)
    asyncio.run(dead_actions.show(settings, _selection([dead_letter_id]), as_json=as_json))


@app.command(no_args_is_help=True)
def retry(
    ids: Ids = None,
    *,
    reason: Reason = None,
    command_type: CommandType = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    every: All = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say for each what would happen now, and change nothing.")
    ] = False,
    amqp_url: AmqpUrl = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Have the commands of dead letters decided again. First remove the cause.

    A command that was never decided is published under its own id; one that ended as internal_error under a new id, a
    new time, and its first id as causationid. A dead letter is removed once the broker has its command, or if that has
    another verdict already. What cannot be decoded stays. The outcomes come as events.

    A dry run decides each command, alone and against the records as they are now, in a transaction that is rolled back:
    of several dead letters about one record, each gets the result that it would have as the only one.

    Exits with 1 if a dead letter cannot be retried, or if there is none with an id that was given.

    [bold]Examples[/bold]

      genlock dead retry --reason delivery_limit --dry-run

      genlock dead retry 0192f0c1-7b1e-7c3a-9d55-0242ac120002
    """
    from genlock.cli import dead_actions  # noqa: PLC0415 - --help does without it

    selection = _chosen(_selection(ids, reason, command_type, since, until), every=every)
    settings = load_settings(amqp_url=amqp_url, namespace=namespace)
    asyncio.run(dead_actions.retry(settings, selection, limit, dry_run=dry_run, as_json=as_json))


@app.command(no_args_is_help=True)
def drop(
    ids: Ids = None,
    *,
    reason: Reason = None,
    command_type: CommandType = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    every: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    amqp_url: AmqpUrl = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Remove dead letters for good, and print which ones. Asks first; without a terminal --yes is required.

    [bold]Examples[/bold]

      genlock dead drop body-2c26b46b68ff

      genlock dead drop --reason 'not JSON' --until 7d --yes > dropped.jsonl
    """
    from genlock.cli import dead_actions  # noqa: PLC0415 - --help does without it

    selection = _chosen(_selection(ids, reason, command_type, since, until), every=every)
    settings = load_settings(amqp_url=amqp_url, namespace=namespace)
    asyncio.run(dead_actions.drop(settings, selection, limit, yes=yes, as_json=as_json))


def _selection(
    ids: Sequence[str] | None,
    reason: str | None = None,
    command_type: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Selection:
    check_span(since, until)
    handles = frozenset(dead_letter_id.lower() for dead_letter_id in ids or ())
    return Selection(handles, reason, command_type, since, until)


def _chosen(selection: Selection, *, every: bool) -> Selection:
    """Check a selection for retry and drop: all dead letters have to be selected explicitly."""
    if selection.is_everything and not every:
        raise Failure("Say which dead letters: by their ids, --reason, --type, --since, --until, or --all.", USAGE)
    if every and not selection.is_everything:
        raise Failure("--all means all dead letters; leave out the other options that select some.", USAGE)
    return selection
