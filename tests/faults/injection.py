"""Injection: how each planned fault is caused, and how it is undone."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import asyncpg

from genlock.consumers.amqp.topology import Topology
from genlock.servers import LocalPostgres, LocalRabbit, ServersUnavailable
from tests.faults.cluster import Cluster
from tests.faults.environment import Stage, quorum_queues
from tests.faults.load import Load
from tests.faults.replica import Replica
from tests.faults.schedule import BROKER, POSTGRES, Fault, Planned
from tests.faults.standby import Pair
from tests.support.proxy import Proxy

TERMINATE_TIMEOUT_S = 15.0
"""How long a replica may take to end in good order: its own limit is far below that."""

ENDS_WITH = (0, 128 + signal.SIGTERM, -signal.SIGTERM)
"""The exit codes of a replica that was told to end; all but 0 are of a process that has not come to its work yet."""

STARTS_MAX = 20
START_PAUSE_S = 0.5

DOWN_S = 0.3
"""For how long a test of one fault keeps its target down."""

SHOWN_S = 1.0
"""For how long a primary that was started again is alone."""

DELAY_S = 0.2
LOW_WATERMARK, DEFAULT_WATERMARK = "0.0001", "0.4"


Probe = Callable[[], Awaitable[None]]
"""Sends a new command, and returns when it is answered."""


async def inject(stage: Stage, planned: Planned) -> float | None:
    """Inject the planned fault and undo it; returns when the target can work again.

    After a loss that others take over: the seconds from the loss until a new command was answered.
    """
    postgres, rabbit = stage.servers.postgres, stage.servers.rabbit
    if planned.target == POSTGRES and isinstance(postgres, Pair):
        return await on_pair(postgres, planned, stage.load)
    if planned.target == BROKER and isinstance(rabbit, Cluster):
        return await on_cluster(rabbit, planned, stage.load.topology, stage.load.probe)
    if isinstance(postgres, LocalPostgres) and planned.target == POSTGRES:
        await on_postgres(postgres, planned)
    elif isinstance(rabbit, LocalRabbit) and planned.target == BROKER:
        await on_rabbit(rabbit, planned)
    elif planned.target in stage.replicas:
        await on_replica(stage.replicas[planned.target], planned)
    else:
        await on_link(stage.links[planned.target], planned)
    return None


async def on_pair(pair: Pair, planned: Planned, load: Load) -> float | None:
    """Take the standby away for a while, or let it take over and the old primary follow it."""
    if planned.fault in (Fault.LOSE_STANDBY, Fault.LOSE_BOTH):
        await asyncio.to_thread(pair.standby.kill)
        await asyncio.sleep(planned.lasts_s)
    if planned.fault is Fault.LOSE_STANDBY:
        await pair.start_standby()
        return None
    with ExitStack() as alone:
        if planned.fault is Fault.LOSE_BOTH:
            # Started again, it shows commits that no other server has; and so these are lost.
            await asyncio.to_thread(pair.primary.stop)
            alone.enter_context(load.sessions.history.alone())
            await start_again(pair.primary)
            await asyncio.sleep(SHOWN_S)
        lost = time.monotonic()
        await asyncio.to_thread(pair.primary.stop if planned.fault is Fault.SWITCH_OVER else pair.primary.kill)
    if not pair.standby.runs:
        await pair.start_standby()
    await pair.promote()
    await load.probe()
    answered_s = time.monotonic() - lost
    await pair.follow()
    return answered_s


async def on_cluster(cluster: Cluster, planned: Planned, topology: Topology, probe: Probe) -> float | None:
    """Lose a node for a while, and let it join the others again."""
    node = cluster.nodes[int(planned.at_s) % len(cluster.nodes)]
    if planned.fault is Fault.LOSE_LEADER:
        node = await cluster.leader_of(topology.command_queues[0].name)
    if planned.fault is Fault.FREEZE:
        os.kill(node.process_id, signal.SIGSTOP)
        await asyncio.sleep(planned.lasts_s)
        os.kill(node.process_id, signal.SIGCONT)
        return None
    lost = time.monotonic()
    await asyncio.to_thread(node.stop if planned.fault is Fault.SHUT_DOWN else node.kill)
    await probe()
    answered_s = time.monotonic() - lost
    await asyncio.sleep(planned.lasts_s)
    await start_again(node)
    await cluster.until_whole(quorum_queues(topology))
    return answered_s


async def on_replica(replica: Replica, planned: Planned) -> None:
    """Inject the planned fault into a replica, and start another one."""
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
    """Inject the planned fault into PostgreSQL, and start it again."""
    if planned.fault is Fault.KILL_BACKEND:
        await _kill_backend(postgres.url)
        await asyncio.to_thread(postgres.wait_ready)
        return
    if planned.fault is Fault.KILL:
        # Its backends go on until they notice; the next start has to wait for that.
        os.kill(postgres.process_id, signal.SIGKILL)
    await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(planned.lasts_s)
    await start_again(postgres)


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
    """Inject the planned fault into RabbitMQ, and start it again."""
    if planned.fault is Fault.ALARM:
        await alarmed(rabbit, lambda: asyncio.sleep(planned.lasts_s))
        return
    await asyncio.to_thread(rabbit.kill if planned.fault is Fault.KILL else rabbit.stop)
    await asyncio.sleep(planned.lasts_s)
    await start_again(rabbit)


async def alarmed(rabbit: LocalRabbit, meanwhile: Callable[[], Awaitable[None]]) -> None:
    """Let the broker be short of memory for a while: it blocks every connection that publishes."""
    await asyncio.to_thread(rabbit.control, "set_vm_memory_high_watermark", LOW_WATERMARK)
    try:
        await meanwhile()
    finally:
        await asyncio.to_thread(rabbit.control, "set_vm_memory_high_watermark", DEFAULT_WATERMARK)


async def start_again(server: LocalPostgres | LocalRabbit) -> None:
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
    """Inject the planned fault into a connection, and undo it."""
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
