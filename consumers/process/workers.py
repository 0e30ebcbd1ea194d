"""Several processes for several cores: the parent answers HTTP for all of them, and restarts workers that died.

A worker reports its status through a pipe. When the parent is gone the pipe breaks, and the worker stops by itself.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import tempfile
from multiprocessing.connection import Connection
from time import monotonic
from typing import cast

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from genlock.consumers.health.http import serving_if
from genlock.consumers.health.monitor import CHECK_EVERY_S, Status
from genlock.consumers.process import logs
from genlock.consumers.process.gc_tuning import collect_seldom
from genlock.consumers.process.replica import Service, UnrecoverableError
from genlock.consumers.process.starting import StartError
from genlock.consumers.process.stopping import Stop
from genlock.service.deciding import tracing
from genlock.service.settings import Settings

RESTART_DELAY_S = 1.0
KILL_AFTER_S = 10.0
"""How much longer than the time for a shutdown a worker has to end."""

REFUSED = os.EX_CONFIG
"""The exit code of a worker that ended because of a wrong setting: its successor would end likewise."""

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""This variable makes prometheus_client, when it is imported, keep its values in files that a parent can sum."""

log = structlog.get_logger()


class Workers:
    """The parent of `count` worker processes."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._settings = settings
        self._statuses = [Status() for _ in range(count)]
        self._told_at = [monotonic()] * count
        self._stop = Stop()
        self._was_ready = False
        """Whether any worker ever was ready: from then on no outage is a reason to give up."""
        self._failed = False

    @property
    def stopping(self) -> bool:
        """Tell whether `stop` was called."""
        return self._stop.requested

    def stop(self) -> None:
        """Let all workers settle what they hold, and `run` return."""
        self._stop.request()

    async def run(self) -> int:
        """Keep the workers going until `stop`, or until one cannot even start; return the exit code."""
        with tempfile.TemporaryDirectory(prefix="genlock-metrics-") as folder:
            os.environ[METRICS_FOLDER] = folder
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]  # as the library has it
            async with serving_if(self._settings, self.statuses, registry), asyncio.TaskGroup() as group:
                for number in range(len(self._statuses)):
                    group.create_task(self._keep(number))
        return 1 if self._failed else 0

    async def _keep(self, number: int) -> None:
        """Run one worker after another in the place of this number."""
        while not self._stop.requested:
            exit_code = await self._run_one(number)
            self._statuses[number] = Status()
            if self._stop.requested:
                return
            if not self._was_ready or exit_code == REFUSED:
                self._failed = True
                self.stop()
                return
            log.error("worker died", action="restart", worker=number, exit_code=exit_code)
            await self._stop.pause(RESTART_DELAY_S)

    def statuses(self) -> list[Status]:
        """The last status of each worker. A worker that has been silent for too long is neither ready nor live."""
        silent = Status(unready=["a worker is silent"], dead=["a worker is silent"])
        too_old = monotonic() - self._settings.progress_timeout_s
        return [
            status if told_at > too_old else silent
            for status, told_at in zip(self._statuses, self._told_at, strict=True)
        ]

    async def _run_one(self, number: int) -> int:
        """Run a worker to its end, and return its exit code."""
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=_work, args=(self._settings, theirs))
        process.start()
        theirs.close()
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self._told_at[number] = monotonic()

        def receive() -> None:
            try:
                self._statuses[number] = cast("Status", ours.recv())
            except (EOFError, OSError):
                loop.remove_reader(ours.fileno())
                return
            self._told_at[number] = monotonic()
            self._was_ready = self._was_ready or not self._statuses[number].unready

        loop.add_reader(ours.fileno(), receive)
        loop.add_reader(process.sentinel, ended.set)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stopping, asyncio.create_task(ended.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.is_set():
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), self._settings.shutdown_timeout_s + KILL_AFTER_S)
            # One that is frozen does not hear the signal, and has settled what it could.
            process.kill()
        stopping.cancel()
        loop.remove_reader(process.sentinel)
        loop.remove_reader(ours.fileno())
        ours.close()
        process.join()
        return process.exitcode or 0


def _work(settings: Settings, parent: Connection) -> None:
    """Be a worker. Runs in a process of its own."""
    logs.configure(settings)
    if settings.tracing:
        tracing.configure()
    collect_seldom()
    raise SystemExit(asyncio.run(_serve(settings, parent)))


async def _serve(settings: Settings, parent: Connection) -> int:
    service = Service(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    telling = asyncio.create_task(_tell(service, parent))
    try:
        await service.run()
    except StartError as error:
        log.error("cannot start", action="start", why=str(error))  # noqa: TRY400 - the sentence is for a person
        return 1
    except UnrecoverableError as error:
        log.error("cannot go on", action="stop", why=str(error))  # noqa: TRY400 - as above
        return REFUSED
    finally:
        telling.cancel()
    return 0


async def _tell(service: Service, parent: Connection) -> None:
    """Tell the parent the status again and again; without a parent there is nothing to work for."""
    try:
        while True:
            parent.send(service.status)
            await asyncio.sleep(CHECK_EVERY_S / 2)
    except OSError:
        log.warning("the parent is gone", action="stop")
        service.stop()
