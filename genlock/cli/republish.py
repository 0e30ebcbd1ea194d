"""`genlock republish`: publish past outcome events again, for a broker that has lost them."""

import asyncio
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from genlock.cli.failure import Failure, load_settings
from genlock.cli.messages import AmqpUrl, Namespace
from genlock.cli.moments import check_span, moment
from genlock.cli.terminal import say
from genlock.service.settings import Settings

if TYPE_CHECKING:
    from genlock.consumers.operations.republish import Republished

REPORT_EVERY_S = 5.0


def republish(
    *,
    since: Annotated[
        datetime,
        typer.Option(parser=moment, metavar="TIME", help="Such as 2026-01-31T12:00:00Z, or 2h for two hours ago."),
    ],
    until: Annotated[
        datetime | None,
        typer.Option(
            parser=moment, metavar="TIME", help="Leave out commands decided at or after this time.", show_default=False
        ),
    ] = None,
    amqp_url: AmqpUrl = None,
    namespace: Namespace = None,
) -> None:
    """Publish the outcome events of all that was decided since a time again, the oldest first.

    For a broker that was replaced by an empty one: exchanges and queues are declared, and the events go out as the
    ledger has kept them, with the same ids. Let all subscribers connect first, so that their queues are there. It works
    beside a live service and may be repeated. Exits with 1 if not all could be published.

    [bold]Examples[/bold]

      genlock republish --since 2h

      genlock republish --since 2026-01-31T12:00:00Z --until 2026-01-31T13:00:00Z
    """
    check_span(since, until)
    asyncio.run(_republish(load_settings(amqp_url=amqp_url, namespace=namespace), since, until))


async def _republish(settings: Settings, since: datetime, until: datetime | None) -> None:
    # Imported here: only this command needs them, and --help should stay fast.
    from genlock.cli.connections import broker, database, identity_of  # noqa: PLC0415
    from genlock.consumers.operations.republish import READ_TIMEOUT_S, NotPublishedError, Republisher  # noqa: PLC0415

    async with (
        database(settings, READ_TIMEOUT_S) as pool,
        broker(settings, identity=await identity_of(settings)) as session,
    ):
        try:
            done = await Republisher(session, pool, settings, _Reporter()).run(since, until)
        except NotPublishedError as error:
            begin = since if error.reached is None else error.reached
            raise Failure(
                f"The broker did not take all events: {error}. To go on, use --since {begin.isoformat()}."
            ) from error
    for event_type in sorted(done.unheard):
        say(f"genlock: {event_type} has no subscriber: its events went to no queue.", err=True)
    say(f"Published {done.events:,} events of {done.batches:,} batches again.")
    if done.newly_confirmed:
        say(f"{done.newly_confirmed:,} of the batches had not been confirmed before, and are now.")
    if done.waiting:
        say(
            f"genlock: {done.waiting:,} of the messages wait: a queue is full. The service publishes them again.",
            err=True,
        )


class _Reporter:
    """Reports progress on stderr every few seconds."""

    def __init__(self) -> None:
        self._next = monotonic() + REPORT_EVERY_S

    def __call__(self, done: "Republished") -> None:
        if monotonic() >= self._next and done.reached is not None:
            self._next = monotonic() + REPORT_EVERY_S
            say(f"{done.events:,} events, up to {done.reached.isoformat()}", err=True)
