"""Injection: what is done for each planned fault, and how it is undone."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import asyncpg

from genlock.servers import LocalPostgres, LocalRabbit, ServersUnavailable
from tests.faults.replica import Replica
from tests.faults.schedule import BROKER, POSTGRES, Fault, Planned
from tests.faults.stage import Stage
from tests.proxy import Proxy

TERMINATE_TIMEOUT_S = 15.0
"""How long a replica may take to end in good order: its own limit is far below that."""

ENDS_WITH = (0, 128 + signal.SIGTERM, -signal.SIGTERM)
"""The exit codes of a replica that was told to end; all but 0 are of a process that has not come to its work yet."""

STARTS_MAX = 20
START_PAUSE_S = 0.5

DELAY_S = 0.2
LOW_WATERMARK, DEFAULT_WATERMARK = "0.0001", "0.4"


async def inject(stage: Stage, planned: Planned) -> None:
    """Do what is planned and undo it; returns when the target could work again."""
    if planned.target == POSTGRES:
        await on_postgres(stage.servers.postgres, planned)
    elif planned.target == BROKER:
        await on_rabbit(stage.servers.rabbit, planned)
    elif planned.target in stage.replicas:
        await on_replica(stage.replicas[planned.target], planned)
    else:
        await on_link(stage.links[planned.target], planned)


async def on_replica(replica: Replica, planned: Planned) -> None:
    """Do to a replica what is planned, and start another one."""
    if planned.fault is Fault.FREEZE:
        replica.freeze()
        await asyncio.sleep(planned.lasts_s)
        replica.thaw()
        return
    if planned.fault is Fault.KILL:
        await replica.kill()
    else:
        code = await replica.terminate(TERMINATE_TIMEOUT_S)
        assert code in ENDS_WITH, f"a replica that was told to end did so with {code}"
    await asyncio.sleep(planned.lasts_s)
    await replica.start()


async def on_postgres(postgres: LocalPostgres, planned: Planned) -> None:
    """Do to PostgreSQL what is planned, and start it again."""
    if planned.fault is Fault.KILL_BACKEND:
        await _kill_backend(postgres.url)
        await asyncio.to_thread(postgres.wait_ready)
        return
    if planned.fault is Fault.KILL:
        # Its backends go on until they notice; the next start has to wait for that.
        os.kill(postgres.process_id, signal.SIGKILL)
    await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(planned.lasts_s)
    await _start_again(postgres)


async def _kill_backend(url: str) -> None:
    """Kill the process of one of the service's connections; PostgreSQL ends all others then, and recovers."""
    connection = await asyncpg.connect(url)
    try:
        backend = await connection.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'genlock' ORDER BY random() LIMIT 1"
        )
        if backend is not None:
            os.kill(backend, signal.SIGKILL)
    finally:
        connection.terminate()


async def on_rabbit(rabbit: LocalRabbit, planned: Planned) -> None:
    """Do to RabbitMQ what is planned, and start it again."""
    if planned.fault is Fault.ALARM:
        await alarmed(rabbit, lambda: asyncio.sleep(planned.lasts_s))
        return
    await asyncio.to_thread(rabbit.kill if planned.fault is Fault.KILL else rabbit.stop)
    await asyncio.sleep(planned.lasts_s)
    await _start_again(rabbit)


async def alarmed(rabbit: LocalRabbit, meanwhile: Callable[[], Awaitable[None]]) -> None:
    """Let the broker be short of memory for a while: it blocks every connection that publishes."""
    await asyncio.to_thread(rabbit.control, "set_vm_memory_high_watermark", LOW_WATERMARK)
    try:
        await meanwhile()
    finally:
        await asyncio.to_thread(rabbit.control, "set_vm_memory_high_watermark", DEFAULT_WATERMARK)


async def _start_again(server: LocalPostgres | LocalRabbit) -> None:
    """Start a server with its old data, as often as it takes."""
    for _ in range(STARTS_MAX):
        server.launch()
        try:
            await asyncio.to_thread(server.wait_ready)
        except ServersUnavailable:
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(START_PAUSE_S)
        else:
            return
    raise RuntimeError(f"{server.name} did not start again")


async def on_link(link: Proxy, planned: Planned) -> None:
    """Do to a connection what is planned, and undo it."""
    match planned.fault:
        case Fault.CUT:
            link.cut()
        case Fault.HALF_OPEN:
            link.half_open(planned.ways)
        case Fault.DELAY:
            link.delay_s = DELAY_S
            await asyncio.sleep(planned.lasts_s)
            link.delay_s = 0.0
        case Fault.STALL:
            link.stall(planned.ways)
            await asyncio.sleep(planned.lasts_s)
            link.resume()
        case Fault.REFUSE:
            await link.refuse()
            await asyncio.sleep(planned.lasts_s)
            await link.accept()
        case _:
            raise ValueError(planned)
