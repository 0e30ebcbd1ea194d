"""HTTP for probes and Prometheus: /livez, /readyz and /metrics, for one process or for the parent of many."""

import contextlib
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from genlock.consumers.health import instruments
from genlock.consumers.health.metrics import HOTTEST
from genlock.consumers.health.monitor import Status
from genlock.service.settings import Settings


class PortTakenError(Exception):
    """The HTTP port is taken; the message is one clear sentence."""


Statuses = Callable[[], Sequence[Status]]


class StatusCollector(Collector):
    """Metrics that follow from the statuses of all processes."""

    def __init__(self, statuses: Statuses) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[Metric]:
        statuses = self._statuses()
        ready = all(not status.unready for status in statuses)
        yield instruments.READY.family(int(ready))
        # Every process counts the same table; the freshest answer is as good as any.
        yield instruments.UNCONFIRMED_BATCHES.family(max((status.unconfirmed for status in statuses), default=0))
        yield instruments.WAITING_MESSAGES.family(max((status.waiting for status in statuses), default=0))
        yield instruments.HELD_COMMANDS.family(max((status.held for status in statuses), default=0))
        yield instruments.HELD_SECONDS.family(max((status.held_s for status in statuses), default=0.0))
        skews = (status.clock_skew_s for status in statuses)
        yield instruments.CLOCK_SKEW_SECONDS.family(max(skews, key=abs, default=0.0))
        steps = (status.clock_step_s for status in statuses)
        yield instruments.CLOCK_STEP_SECONDS.family(max(steps, key=abs, default=0.0))
        lanes = instruments.LANE_ACTIVE.family()
        for lane in sorted({lane for status in statuses for lane in status.lanes}):
            lanes.add_metric([lane], 1)
        yield lanes
        hottest = instruments.RECORD_CONFLICTS.family()
        for (kind, record_id), count in _hottest(statuses):
            hottest.add_metric([kind, record_id], count)
        yield hottest


def _hottest(statuses: Iterable[Status]) -> list[tuple[tuple[str, str], int]]:
    tally: Tally[tuple[str, str]] = Tally()
    for status in statuses:
        for kind, record_id, count in status.hottest:
            tally[kind, record_id] += count
    return tally.most_common(HOTTEST)


def serving_if(
    settings: Settings, statuses: Statuses, registry: CollectorRegistry
) -> contextlib.AbstractAsyncContextManager[int | None]:
    """Answer HTTP as the settings say, which may be not at all. Raises PortTakenError on entry."""
    if not settings.http_port:
        return contextlib.nullcontext()
    return serving(settings.http_host, settings.http_port, statuses, registry)


@contextlib.asynccontextmanager
async def serving(host: str, port: int, statuses: Statuses, registry: CollectorRegistry) -> AsyncIterator[int]:
    """Answer HTTP while the context lasts; yields the port. Port 0 is any free one.

    Raises PortTakenError.
    """
    registry.register(StatusCollector(statuses))

    async def livez(_request: web.Request) -> web.Response:
        return _judged([reason for status in statuses() for reason in status.dead])

    async def readyz(_request: web.Request) -> web.Response:
        return _judged([reason for status in statuses() for reason in status.unready])

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise PortTakenError(f"HTTP port {port} is not free: set GENLOCK_HTTP_PORT. ({error.strerror})") from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _judged(reasons: list[str]) -> web.Response:
    return web.json_response({"ok": not reasons, "reasons": sorted(set(reasons))}, status=503 if reasons else 200)
