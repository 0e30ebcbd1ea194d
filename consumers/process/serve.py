"""The process: `genlock serve`, with one worker or with several."""

import asyncio
import os
import signal

import structlog

from genlock.consumers.health.http import PortTakenError, serving_if
from genlock.consumers.process import logs
from genlock.consumers.process.gc_tuning import collect_seldom
from genlock.consumers.process.replica import Service, UnrecoverableError
from genlock.consumers.process.starting import StartError
from genlock.consumers.process.workers import Workers
from genlock.service.deciding import tracing
from genlock.service.settings import Settings

__all__ = ["Service", "serve"]

EXIT_AT_ONCE = 1

log = structlog.get_logger()


def serve(settings: Settings, workers: int = 1) -> int:
    """Serve until SIGTERM or SIGINT, in this process or in several; return the exit code."""
    logs.configure(settings)
    logs.warn_of_unknown_variables()
    try:
        if settings.tracing and workers == 1:
            tracing.configure()
        collect_seldom()
        return asyncio.run(_serve(settings, workers))
    except (StartError, PortTakenError, tracing.TracingError) as error:
        log.error("cannot start", action="start", why=str(error))  # noqa: TRY400 - the sentence is for a person
    except UnrecoverableError as error:
        log.error("cannot go on", action="stop", why=str(error))  # noqa: TRY400 - the sentence is for a person
    return 1


async def _serve(settings: Settings, workers: int) -> int:
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
    """Settle the held messages at the first signal. A second one ends the process at once, and loses nothing either."""
    if served.stopping:
        log.warning("ended at once", action="stop")
        os._exit(EXIT_AT_ONCE)
    served.stop()
