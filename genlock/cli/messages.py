"""`genlock send`, `get` and `tail`: the commands that use a running service."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated

import typer

from genlock._client.states import State
from genlock.cli.failure import Failure, load_settings, say_if_default, sentence
from genlock.cli.output import EXIT_CODES, OutcomePrinter, print_record, wants_json
from genlock.cli.settings_table import address
from genlock.cli.terminal import say
from genlock.client import TIMEOUT_S, Client, connect
from genlock.commands import complete, parse_object, read_lines
from genlock.errors import GenlockError, InvalidMessage, Unanswered
from genlock.schemas.base import JsonObject
from genlock.schemas.catalogue import STATES
from genlock.schemas.outcomes import Outcome, UnknownEvent

SOURCE = "/genlock-cli"
STDIN = "-"
CONCURRENCY_MAX = 1_000

AmqpUrl = Annotated[
    str | None, typer.Option("--amqp-url", help="The broker; by default GENLOCK_AMQP_URL.", show_default=False)
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", help="The service's; by default GENLOCK_NAMESPACE.", show_default=False)
]
CommandFile = Annotated[
    Path | None, typer.Option("--file", "-f", exists=True, dir_okay=False, help="A file with a command on each line.")
]
Concurrency = Annotated[
    int, typer.Option(min=1, max=CONCURRENCY_MAX, help="How many commands may wait for their outcome at once.")
]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="How long to wait for an answer, in seconds.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as happens anyway where there is no terminal.")]


def send(
    command_type: Annotated[
        str | None, typer.Argument(metavar="TYPE", help="Such as document.put; - reads commands from stdin.")
    ] = None,
    subject: Annotated[str | None, typer.Argument(metavar="SUBJECT", help="The id of the record.")] = None,
    *,
    data: Annotated[str | None, typer.Option("--data", "-d", help="The command's data, a JSON object.")] = None,
    command_id: Annotated[
        str | None, typer.Option("--id", help="To send a command again under its id; by default a new UUID.")
    ] = None,
    file: CommandFile = None,
    concurrency: Concurrency = 1,
    bulk: Annotated[
        bool, typer.Option("--bulk", help="Send lines of one type that follow one another as one message.")
    ] = False,
    source: Annotated[str, typer.Option(help="The sender: a URI reference, which others see in a winner.")] = SOURCE,
    timeout_s: Timeout = TIMEOUT_S,
    amqp_url: AmqpUrl = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Send commands and print their outcomes.

    A line is a JSON object with type, subject and data; id, source, time and the rest of CloudEvents may be left out.
    All lines are read before the first is sent, and each is sent after the outcome of the one before.

    Exits with 0 if all succeeded, 3 for a conflict, 4 for a rejection, 1 without an answer, 2 for wrong usage.

    [bold]Examples[/bold]

      genlock send document.put server-1 --data '{"expected_generation": null, "body": {}}'

      genlock send --file commands.jsonl --concurrency 10

      genlock send --file commands.jsonl --bulk

      echo '{"type": "document.put", "subject": "server-1", "data": {…}}' | genlock send -
    """
    # Ids are generated here, so that an error can name them.
    envelopes = [complete(members, source) for members in _given(command_type, subject, data, command_id, file)]
    connecting = open_client(amqp_url, namespace, source, timeout_s)
    show = OutcomePrinter(as_json=wants_json(as_json=as_json)).print
    sending = _send_bulk(connecting, envelopes, show) if bulk else _send(connecting, envelopes, concurrency, show)
    raise typer.Exit(asyncio.run(sending))


def _given(
    command_type: str | None, subject: str | None, data: str | None, command_id: str | None, file: Path | None
) -> list[JsonObject]:
    """Make the command that the arguments give, or read the commands of a file or of stdin.

    Raises typer.BadParameter if the arguments conflict, and InvalidMessage.
    """
    if command_type not in (None, STDIN) and file is None:
        given = {"id": command_id, "type": command_type, "subject": subject, "data": parse_object(data or "{}")}
        return [{name: value for name, value in given.items() if value is not None}]
    if subject is not None or data is not None or command_id is not None:
        raise typer.BadParameter("SUBJECT, --data and --id belong to a command that is given as arguments.")
    return read_commands(_input(command_type, file))


def _input(command_type: str | None, file: Path | None) -> bytes:
    """Read a file, or stdin for -."""
    if file is not None and command_type is None:
        return file.read_bytes()
    if file is None and command_type == STDIN:
        return typer.get_binary_stream("stdin").read()
    raise typer.BadParameter("Give either a command as arguments, or --file, or - for stdin.")


def read_commands(text: bytes) -> list[JsonObject]:
    """Read JSON Lines. Raises InvalidMessage, which names the first bad line."""
    try:
        return read_lines(text.decode().split("\n"))
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise InvalidMessage(f"Line {line}: This is not UTF-8.") from error


def open_client(
    amqp_url: str | None, namespace: str | None, source: str, timeout_s: float
) -> AbstractAsyncContextManager[Client]:
    """A client that is not connected yet. Raises Failure."""
    settings = load_settings(amqp_url=amqp_url, namespace=namespace)
    say_if_default(settings, "amqp_url", f"RabbitMQ at {address(settings.amqp_url)}")
    return connect(settings.broker, namespace=settings.namespace, source=source, timeout_s=timeout_s)


async def _send(
    connecting: AbstractAsyncContextManager[Client],
    envelopes: list[JsonObject],
    concurrency: int,
    show: Callable[[Outcome], None],
) -> int:
    async with connecting as client:
        return await send_all(client, envelopes, show, concurrency=concurrency)


async def _send_bulk(
    connecting: AbstractAsyncContextManager[Client], envelopes: list[JsonObject], show: Callable[[Outcome], None]
) -> int:
    """Send commands of one type that follow one another as one message; return the exit code of the worst outcome."""
    worst = 0
    async with connecting as client:
        for _, grouped in groupby(envelopes, key=itemgetter("type")):
            group = list(grouped)
            try:
                outcomes = await client.send_bulk_envelopes(group)
            except Unanswered as error:
                ids = "\n".join(envelope["id"] for envelope in group)
                raise Failure(
                    f"{error} The fate of these commands is open; send them again under their ids:\n{ids}"
                ) from error
            for outcome in outcomes:
                show(outcome)
                worst = max(worst, EXIT_CODES[type(outcome)])
    return worst


async def send_all(
    client: Client, envelopes: list[JsonObject], show: Callable[[Outcome], None], *, concurrency: int = 1
) -> int:
    """Send all commands, at most `concurrency` at once, and return the exit code of the worst outcome.

    After a command without an answer no other is sent; pending ones still get theirs. Raises Failure, and the client's
    errors.
    """
    worst = 0
    waiting: Generator[JsonObject] = (envelope for envelope in envelopes)

    async def send_next() -> None:
        nonlocal worst
        for envelope in waiting:
            try:
                outcome = await client.send_envelope(envelope)
            except GenlockError:
                waiting.close()
                raise
            show(outcome)
            worst = max(worst, EXIT_CODES[type(outcome)])

    senders = (send_next() for _ in range(min(concurrency, len(envelopes))))
    results = await asyncio.gather(*senders, return_exceptions=True)
    failures = [result for result in results if result is not None]
    for failure in failures:
        if not isinstance(failure, Unanswered):
            raise failure
    if failures:
        # Each is named, because each may have to be sent again.
        raise Failure("\n".join(sentence(failure) for failure in failures if isinstance(failure, Unanswered)))
    return worst


def get(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"The kind of the record: {', '.join(STATES)}.")],
    record_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the record.")],
    *,
    timeout_s: Timeout = TIMEOUT_S,
    amqp_url: AmqpUrl = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Show the state of a record. Exits with 1 if there is none.

    [bold]Example[/bold]

      genlock get document server-1
    """
    record = asyncio.run(_get(open_client(amqp_url, namespace, SOURCE, timeout_s), kind, record_id))
    if record is None:
        raise Failure(f"There is no {kind} {record_id}.")
    print_record(record, as_json=as_json)


async def _get(connecting: AbstractAsyncContextManager[Client], kind: str, record_id: str) -> State | JsonObject | None:
    async with connecting as client:
        return await client.get(kind, record_id)


def tail(
    pattern: Annotated[
        str, typer.Argument(metavar="PATTERN", help="A topic pattern: * stands for one word of a type, # for many.")
    ] = "#",
    *,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many events.")] = None,
    timeout_s: Timeout = TIMEOUT_S,
    amqp_url: AmqpUrl = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Print outcome events as they come, until Ctrl-C.

    [bold]Examples[/bold]

      genlock tail

      genlock tail 'stack.*.conflict' --count 10
    """
    printer = OutcomePrinter(as_json=wants_json(as_json=as_json))
    with suppress(KeyboardInterrupt):
        asyncio.run(_tail(open_client(amqp_url, namespace, SOURCE, timeout_s), pattern, count, printer.print))


async def _tail(
    connecting: AbstractAsyncContextManager[Client],
    pattern: str,
    count: int | None,
    show: Callable[[Outcome | UnknownEvent], None],
) -> None:
    async with connecting as client, client.events(pattern) as events:
        # After this line no event is missed.
        say(f"Waiting for events of the pattern {pattern}; Ctrl-C ends.", err=True)
        seen = 0
        async for event in events:
            show(event)
            seen += 1
            if seen == count:
                return
