"""A broker that has no Genlock: the error names it and the missing part, and nothing is left on it."""

from urllib.parse import urlsplit

import aio_pika
import pytest

import genlock
from genlock.service.settings import Settings
from tests.support.command_line import genlock as command_line


@pytest.fixture
def place(amqp_url: str) -> str:
    return urlsplit(amqp_url).netloc.rpartition("@")[2]


async def test_missing_namespace_is_told_with_the_broker_that_was_asked(
    amqp_url: str, namespace: str, place: str
) -> None:
    put = genlock.command(genlock.DocumentPut(expected_generation=None, body={}), subject="x")
    async with genlock.connect(amqp_url, namespace=namespace) as client:
        with pytest.raises(genlock.Unroutable) as sent:
            await client.send(put)
        with pytest.raises(genlock.Unroutable) as read:
            await client.get("document", "x")
        with pytest.raises(genlock.Unroutable) as heard:
            async with client.events("document.#", queue=f"audit-{namespace}"):
                pass
    for raised, exchange in ((sent, "commands"), (read, "reads"), (heard, "events")):
        assert f"on the broker at {place} " in str(raised.value)
        assert f"'{namespace}.{exchange}'" in str(raised.value)
        assert "GENLOCK_AMQP_URL" in str(raised.value)
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await channel.declare_queue(f"audit-{namespace}", passive=True)


async def test_exchange_without_a_queue_is_told_with_the_broker_that_was_asked(
    amqp_url: str, namespace: str, place: str
) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(f"{namespace}.reads", "topic", auto_delete=True)
        async with genlock.connect(amqp_url, namespace=namespace) as client:
            with pytest.raises(genlock.Unroutable, match=f"The broker at {place} has no queue that takes this"):
                await client.get("document", "x")
        await channel.exchange_delete(f"{namespace}.reads")


async def test_command_line_says_which_broker_has_no_genlock(settings: Settings, namespace: str, place: str) -> None:
    ran = await command_line(settings, "get", "document", "x")
    assert ran.code == 1
    assert f"No Genlock of this namespace is on the broker at {place} " in ran.err
    assert f"'{namespace}.reads'" in ran.err


async def test_environment_says_where_a_client_connects_that_is_told_nothing(
    amqp_url: str, namespace: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENLOCK_AMQP_URL", amqp_url)
    monkeypatch.setenv("GENLOCK_NAMESPACE", namespace)
    async with genlock.connect() as client:
        with pytest.raises(genlock.Unroutable, match=rf"at {place} .*'{namespace}\.reads'"):
            await client.get("document", "x")
    async with genlock.connect(namespace=f"{namespace}-other") as client:
        with pytest.raises(genlock.Unroutable, match=rf"at {place} .*'{namespace}-other\.reads'"):
            await client.get("document", "x")


async def test_environment_is_not_read_where_a_url_is_given(
    amqp_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENLOCK_AMQP_URL", "amqp://127.0.0.1:1/")
    monkeypatch.setenv("GENLOCK_AMQP_PASSWORD_FILE", "/none")
    monkeypatch.setenv("GENLOCK_NAMESPACE", namespace)
    async with genlock.connect(amqp_url) as client:
        assert client._namespace == "genlock"


@pytest.mark.parametrize("value", [None, ""])
async def test_client_that_is_told_nothing_connects_nowhere(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENLOCK_AMQP_URL", raising=False)
    if value is not None:
        monkeypatch.setenv("GENLOCK_AMQP_URL", value)
    with pytest.raises(genlock.CannotConnect, match="set GENLOCK_AMQP_URL"):
        async with genlock.connect():
            pass
