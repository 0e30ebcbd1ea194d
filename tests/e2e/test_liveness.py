"""/livez: fails for a part of the process that is stuck, and for nothing that is wrong with a server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import aiohttp
import pytest
from pydantic import SecretStr

from genlock.consumers.commands import batching
from genlock.consumers.commands.batching import Batching
from genlock.consumers.commands.consumer import CommandConsumer
from genlock.consumers.commands.registration import Registration
from genlock.consumers.health.http import serving as serving_http
from genlock.consumers.process.serve import Service
from genlock.service.deciding.decide import Decider
from genlock.service.settings import Settings
from tests.support.database import END_SESSIONS, Connection
from tests.support.documents import creation, merge
from tests.support.factories import Json, new_id
from tests.support.frame_proxy import Frame, LosingDeliveries, frames_proxied
from tests.support.harness import Client, serving, until, until_ready
from tests.support.proxy import Proxy, Way

IMPATIENT: Json = {"progress_timeout_s": 0.5, "decide_timeout_s": 0.4, "retry_delay_max_s": 0.2}
LONG_S = 4.0
"""Several times as long as a process may stand still for no reason, and as checks of it take."""


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    """Return settings of a replica that soon calls itself dead."""
    return settings.model_copy(update=IMPATIENT)


@asynccontextmanager
async def probed(service: Service) -> AsyncIterator[Callable[[str], Any]]:
    """Answer HTTP for a replica; yields what asks for a page, and returns its status and its reasons."""
    async with (
        serving_http("127.0.0.1", 0, lambda: [service.status], service.registry) as port,
        aiohttp.ClientSession() as http,
    ):

        async def ask(page: str) -> tuple[int, list[str]]:
            async with http.get(f"http://127.0.0.1:{port}/{page}") as answer:
                return answer.status, (await answer.json())["reasons"]

        yield ask


async def check_lives(service: Service, reason: str, still_s: Callable[[], float] | None = None) -> None:
    """See that a replica lives through a long standstill, and says in the end that it is not ready, and why."""
    standstill = still_s or service._activity.held_s

    async def lives() -> bool:
        code, reasons = await ask("livez")
        assert (code, reasons) == (200, [])
        return standstill() > LONG_S

    async with probed(service) as ask:
        await until(lives)
        code, reasons = await ask("readyz")
        assert code == 503
        assert any(reason in told for told in reasons), reasons


Breaking: TypeAlias = Callable[[Connection, str], AbstractAsyncContextManager[None]]


def sql(broken: str, mended: str, *, ends: bool = False) -> Breaking:
    """Break the database by a statement, and mend it by another; `ends` all connections of before."""

    @asynccontextmanager
    async def breaking(second: Connection, role: str) -> AsyncIterator[None]:
        names = {"database": await second.fetchval("SELECT quote_ident(current_database())"), "role": role}
        await second.execute(broken.format(**names))
        if ends:
            await second.execute(END_SESSIONS)
        try:
            yield
        finally:
            await second.execute(mended.format(**names))

    return breaking


@asynccontextmanager
async def locked(second: Connection, _role: str) -> AsyncIterator[None]:
    async with second.transaction():
        await second.execute("LOCK TABLE documents")
        yield


TROUBLES: dict[str, tuple[Breaking, str]] = {
    "read-only": (
        sql(
            "ALTER DATABASE {database} SET default_transaction_read_only = on",
            "ALTER DATABASE {database} RESET default_transaction_read_only",
            ends=True,
        ),
        "cannot execute",
    ),
    "table locked": (locked, "lock timeout"),
    "grant revoked": (
        sql("REVOKE UPDATE, INSERT ON documents FROM {role}", "GRANT UPDATE, INSERT ON documents TO {role}"),
        "permission denied for table documents",
    ),
    "all grants revoked": (
        sql(
            "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        ),
        "permission denied for table",
    ),
    "table renamed": (
        sql("ALTER TABLE ledger RENAME TO gone", "ALTER TABLE gone RENAME TO ledger"),
        "ledger",
    ),
    "no connection": (
        sql(
            "ALTER DATABASE {database} CONNECTION LIMIT 0",
            "ALTER DATABASE {database} CONNECTION LIMIT -1",
            ends=True,
        ),
        "too many connections",
    ),
    "slow statement": (
        sql(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_sleep(30); RETURN NEW; END'; "
            "CREATE TRIGGER dawdle BEFORE UPDATE ON documents FOR EACH ROW EXECUTE FUNCTION dawdle()",
            "DROP TRIGGER dawdle ON documents",
        ),
        "no answer in time",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_trouble_of_the_database_makes_a_replica_unready_and_not_dead(
    client: Client, impatient: Settings, second: Connection, service_role: Any, trouble: str
) -> None:
    breaking, reason = TROUBLES[trouble]
    document = new_id()
    created, held = creation(document), merge(document)
    async with serving(impatient) as service:
        await client.ask(created)
        async with breaking(second, service_role.name):
            await client.send(held)
            await check_lives(service, reason)
        await client.decided(held)
        await until_ready(service)


LASTING = """
CREATE FUNCTION last() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
'BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NEW; END';
CREATE TRIGGER last BEFORE UPDATE ON documents FOR EACH ROW EXECUTE FUNCTION last()
"""


async def test_batch_that_takes_long_in_the_database_is_no_death(
    client: Client, impatient: Settings, second: Connection
) -> None:
    document = new_id()
    created, held = creation(document), merge(document)
    async with serving(impatient, decide_timeout_s=60) as service:
        await client.ask(created)
        await second.execute(LASTING)
        async with second.transaction():
            await second.execute("SELECT pg_advisory_xact_lock(42)")
            await client.send(held)
            await check_lives(service, "a delivery is held")
        await client.decided(held)


@pytest.mark.parametrize("silent", ["database", "broker"])
async def test_server_that_says_nothing_is_no_death(
    client: Client, remote: Settings, broker: Proxy, database: Proxy, silent: str
) -> None:
    held = creation(new_id())
    async with serving(remote, **IMPATIENT) as service:
        await client.ask(creation(new_id()))
        if silent == "database":
            database.stall()
        else:
            broker.stall({Way.REQUESTS})
        await client.send(held)
        await check_lives(service, "PostgreSQL" if silent == "database" else "the broker")
        (database if silent == "database" else broker).resume()
        await client.decided(held)


async def test_subscriber_that_takes_no_outcome_leaves_replicas_alive_and_ready(
    client: Client, impatient: Settings, second: Connection
) -> None:
    full = await client.channel.declare_queue(
        exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )
    await full.bind(client.topology.events, routing_key="#")
    commands = [creation(new_id()) for _ in range(3)]
    async with serving(impatient) as service, probed(service) as ask:
        await client.ask(*commands)

        async def refused_for_long() -> bool:
            tries: int | None = await second.fetchval("SELECT max(tries) FROM destinations")
            return (tries or 0) > 4

        await until(refused_for_long)
        assert service._activity.held == 0
        assert await ask("livez") == (200, [])
        assert await ask("readyz") == (200, [])
        await full.delete(if_empty=False)
        await client.decided(*commands)


async def never(*_: Any, **__: Any) -> Any:
    await asyncio.Event().wait()


STUCK = {
    "reading": (batching, "read"),
    "gathering": (Batching, "_enter"),
    "deciding": (Decider, "decide"),
    "publishing": (Registration, "leave_early"),
    "settling": (CommandConsumer, "_settle"),
    "registering": (Registration, "take"),
}


@pytest.mark.parametrize("part", STUCK)
async def test_part_that_is_stuck_is_dead(
    client: Client, impatient: Settings, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    async with serving(impatient, shutdown_timeout_s=0.1) as service, probed(service) as ask:
        await client.ask(creation(new_id()))
        with monkeypatch.context() as patched:
            patched.setattr(*STUCK[part], never)

            async def dead() -> bool:
                # A part that is stuck when all is done is dead only once there is work again.
                await client.send(creation(new_id()))
                code, reasons = await ask("livez")
                assert (code == 503) == bool(reasons)
                return bool(code == 503)

            await until(dead)


@pytest.mark.usefixtures("client")
async def test_session_that_is_lost_and_does_not_end_is_dead(
    impatient: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a library swallows the cancellation of a task."""
    release = asyncio.Event()

    async def deaf(_consumer: CommandConsumer) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    monkeypatch.setattr(CommandConsumer, "run", deaf)
    async with serving(impatient, shutdown_timeout_s=0.1) as service:
        assert service.session is not None
        service.session.lose("the test")

        async def dead() -> bool:
            return bool(service.status.dead)

        try:
            await until(dead)
        finally:
            release.set()


async def test_deliveries_that_never_come_begin_another_session(client: Client, impatient: Settings) -> None:
    """As where the broker, or something between it and the replica, has forgotten the consumer."""
    first: list[int] = []

    def on_the_first_connection(frame: Frame, _lost: int) -> bool:
        first.append(frame.connection)
        return frame.connection == first[0]

    losing = LosingDeliveries(on_the_first_connection)
    commands = [creation(new_id()) for _ in range(2)]
    async with (
        frames_proxied(impatient.amqp_url.get_secret_value(), losing) as broker,
        serving(impatient, prefetch=1, amqp_url=SecretStr(broker.url)) as service,
    ):
        await client.ask(*commands)
        assert service.status.dead == []
    assert losing.lost
