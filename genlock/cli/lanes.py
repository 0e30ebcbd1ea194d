"""`genlock lanes`: change the number of lanes."""

import asyncio
from typing import Annotated

import typer

from genlock.cli.failure import Failure, load_settings
from genlock.cli.messages import AmqpUrl, Namespace
from genlock.cli.terminal import say
from genlock.service.settings import LANES_MAX, Settings


def lanes(
    number: Annotated[int, typer.Argument(metavar="N", min=1, max=LANES_MAX, help="How many; 1 is one inbox.")],
    *,
    amqp_url: AmqpUrl = None,
    namespace: Namespace = None,
) -> None:
    """Change how many lanes the broker has, while no replica runs; then start replicas with GENLOCK_LANES=N.

    Commands may arrive meanwhile; none is lost, and waiting ones are moved in their order. Does nothing if the broker
    already has that many lanes. To finish an interrupted change, run the command again.

    [bold]Example[/bold]

      genlock lanes 4
    """
    asyncio.run(_change(load_settings(lanes=number, amqp_url=amqp_url, namespace=namespace)))


async def _change(settings: Settings) -> None:
    # Imported here: only this command needs them, and --help should stay fast.
    from genlock.cli.connections import broker  # noqa: PLC0415
    from genlock.consumers.operations.lanes import LanesInUseError, change_lanes  # noqa: PLC0415

    async with broker(settings, declare=False) as session:
        try:
            moved = await change_lanes(session, settings)
        except LanesInUseError as error:
            raise Failure(str(error)) from error
    for name, count in moved.items():
        say(f"Moved out of {name}: {count}.")
    there = f"{settings.lanes} lanes" if settings.lanes > 1 else "one inbox"
    say(f"The namespace {settings.namespace} has {there} now.")
