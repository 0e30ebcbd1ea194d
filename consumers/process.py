"""The process: `genlock serve`, with one worker or with several."""

import asyncio
import os
import signal

import structlog

from genlock.consumers import logs
from genlock.consumers.garbage import search_seldom
from genlock.consumers.http import PortTakenError, serving_if
from genlock.consumers.replica import RefusedError, Service, StartError
from genlock.consumers.workers import Workers
from genlock.service.deciding import tracing
from genlock.service.settings import Settings

__all__ = ["Service", "main"]

EXIT_AT_ONCE = 1

log = structlog.get_logger()


def main(settings: Settings, workers: int = 1) -> int:
    """Serve until SIGTERM or SIGINT, in this process or in several; return the exit code."""
    logs.configure(settings)
    logs.warn_of_unknown_variables()
    try:
        if settings.tracing and workers == 1:
            tracing.configure()
        search_seldom()
        return asyncio.run(_main(settings, workers))
    except (StartError, PortTakenError, tracing.TracingError) as error:
        log.error("cannot start", action="start", why=str(error))  # noqa: TRY400 - the sentence is for a person
    except RefusedError as error:
        log.error("cannot go on", action="stop", why=str(error))  # noqa: TRY400 - the sentence is for a person
    return 1


async def _main(settings: Settings, workers: int) -> int:
    served = Service(settings) if workers == 1 else Workers(settings, workers)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, served)
    if isinstance(served, Workers):
        return await served.run()
    async with serving_if(settings, lambda: [served.status], served.registry):
        await served.run()
    return 0


def _stop(served: Service | Workers) -> None:
    """Settle what is held at the first signal; a second one ends the process at once, which loses nothing either."""
    if served.stopping:
        log.warning("ended at once", action="stop")
        os._exit(EXIT_AT_ONCE)
    served.stop()
