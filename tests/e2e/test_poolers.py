"""What users see where GENLOCK_DATABASE_URL leads to a pooler, at the start and later."""

import asyncio
import os
import signal

import pytest
from pydantic import SecretStr

from genlock.consumers.process.replica import Service, UnrecoverableError
from genlock.consumers.process.starting import StartError
from genlock.service.settings import Settings
from tests.support.command_line import ended, genlock, lines_until, start
from tests.support.factories import envelope, new_id
from tests.support.harness import DEADLINE_S, Client, serving, until_ready
from tests.support.pooler import Pooling
from tests.support.proxy import proxied

REFUSAL = "that does not keep sessions, such as PgBouncer in transaction or statement mode"


def pooled(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(url)})


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(
    "arguments", [("migrate",), ("verify",), ("republish", "--since", "1h"), ("dead", "retry", "--all")], ids=" ".join
)
async def test_command_line_refuses_a_pooler_in_transaction_mode_in_one_sentence(
    settings: Settings, pooling: Pooling, database_url: str, arguments: tuple[str, ...]
) -> None:
    ran = await genlock(pooled(settings, pooling("transaction").at(database_url)), *arguments)
    assert ran.code == 1
    assert REFUSAL in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_start_through_a_pooler_that_keeps_no_sessions_is_refused_at_once(
    settings: Settings, pooling: Pooling, database_url: str, mode: str
) -> None:
    with pytest.raises(StartError, match=REFUSAL):
        await Service(pooled(settings, pooling(mode).at(database_url))).run()


async def test_replica_works_through_a_pooler_in_session_mode(
    client: Client, settings: Settings, pooling: Pooling, database_url: str
) -> None:
    command = envelope("document.put", new_id(), {"expected_generation": None, "body": {}})
    async with serving(pooled(settings, pooling("session").at(database_url))):
        [outcome] = await client.ask(command)
    assert outcome["type"] == "document.put.succeeded"


async def test_replica_whose_new_connections_lead_to_such_a_pooler_ends_and_says_why(
    client: Client, settings: Settings, pooling: Pooling, database_url: str
) -> None:
    async with proxied(database_url) as proxy:
        service = Service(pooled(settings, proxy.url).model_copy(update={"shutdown_timeout_s": 0.5}))
        running = asyncio.create_task(service.run())
        await until_ready(service)
        await client.ask(envelope("document.put", new_id(), {"expected_generation": None, "body": {}}))
        proxy.lead_to(pooling("transaction").at(database_url))
        proxy.cut()
        with pytest.raises(UnrecoverableError, match=REFUSAL):
            await asyncio.wait_for(running, DEADLINE_S)


@pytest.mark.usefixtures("client")
async def test_workers_whose_new_connections_lead_to_such_a_pooler_are_not_started_again(
    settings: Settings, pooling: Pooling, database_url: str
) -> None:
    variables = {"GENLOCK_HTTP_PORT": "0", "GENLOCK_SHUTDOWN_TIMEOUT_S": "0.5", "GENLOCK_LOG_FORMAT": "json"}
    async with proxied(database_url) as proxy:
        started = await start(pooled(settings, proxy.url), "serve", "--workers", "2", **variables)
        try:
            await lines_until(started, "ready")
            await lines_until(started, "ready")
            proxy.lead_to(pooling("transaction").at(database_url))
            proxy.cut()
            code, lines = await ended(started)
        finally:
            if started.returncode is None:
                os.kill(started.pid, signal.SIGKILL)
    assert code == 1
    assert any(REFUSAL in line.get("why", "") for line in lines if line["event"] == "cannot go on")
