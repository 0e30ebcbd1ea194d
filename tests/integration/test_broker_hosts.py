"""Connections to a broker whose URL names several hosts, as the nodes of a cluster are."""

import asyncio
from collections import Counter

import pytest
from aio_pika.exceptions import AMQPConnectionError
from pydantic import SecretStr
from yarl import URL

import genlock
from genlock._net.amqp import connect
from genlock._net.broker_urls import brokers
from genlock.consumers.process.serve import Service
from genlock.service.settings import Settings
from tests.support.factories import new_id
from tests.support.harness import serving, until
from tests.support.proxy import Proxy, joined, proxied


def test_each_host_gets_all_of_the_url_and_comes_first_as_often_as_any_other() -> None:
    url = "amqps://user:p%40w@a:1,b,[::1]:3/host?cafile=ca.pem&heartbeat=7"
    each = {f"amqps://user:p%40w@{host}/host?cafile=ca.pem&heartbeat=7" for host in ("a:1", "b", "[::1]:3")}
    firsts: Counter[str] = Counter()
    for _ in range(300):
        urls = [str(one) for one in brokers(url, heartbeat_s=10)]
        assert set(urls) == each
        firsts[urls[0]] += 1
    assert min(firsts[one] for one in each) > 50


def test_heartbeat_that_no_url_says_is_added() -> None:
    assert [one.query["heartbeat"] for one in brokers("amqp://a,b/", heartbeat_s=10)] == ["10", "10"]


@pytest.mark.parametrize("fault", ["silent", "gone", "gone behind a load balancer"])
async def test_host_that_cannot_be_used_does_not_keep_from_the_one_that_can(amqp_url: str, fault: str) -> None:
    async with proxied(amqp_url) as other, proxied(other.url) as balancer:
        if fault == "silent":
            other.stall()
        else:
            await other.refuse()
        in_front = balancer if fault == "gone behind a load balancer" else other
        bad, good = (brokers(url, heartbeat_s=10)[0] for url in (in_front.url, amqp_url))
        connection = await connect([bad, good], timeout_s=2)
        assert connection.url.port == good.port
        await connection.close()


async def test_last_host_says_why_where_none_can_be_used(amqp_url: str) -> None:
    async with proxied(amqp_url) as one, proxied(amqp_url) as other:
        urls = brokers(joined(one.url, other.url), heartbeat_s=10)
        await one.refuse()
        await other.refuse()
        with pytest.raises(AMQPConnectionError):
            await connect(urls, timeout_s=2)


async def _left(service: Service, host: Proxy, other: Proxy) -> None:
    """Take one host away, and return when the service is ready with the other one."""
    before = service.session
    await other.accept()
    await host.refuse()

    async def again() -> bool:
        return service.ready.is_set() and service.session is not before

    if before is not None and before._consuming.url.port == _port(host):
        await until(again)


def _port(host: Proxy) -> int:
    return int(host.url.rpartition(":")[2].partition("/")[0])


async def test_service_and_client_leave_a_host_that_is_gone_for_the_other_one(
    settings: Settings, amqp_url: str
) -> None:
    async with proxied(amqp_url) as one, proxied(amqp_url) as other:
        url = joined(one.url, other.url)
        await other.refuse()
        async with (
            serving(settings, amqp_url=SecretStr(url), retry_delay_max_s=0.1) as service,
            genlock.connect(url, namespace=settings.namespace, source="/test") as client,
        ):
            for host, next_host in ((one, other), (other, one), (one, other)):
                sent = genlock.command(genlock.DocumentPut(expected_generation=None, body={}), subject=new_id())
                assert isinstance(await client.send(sent), genlock.Succeeded)
                await _left(service, host, next_host)
            await asyncio.gather(client.get("document", new_id()), client.get("document", new_id()))


async def test_channel_of_a_connection_that_was_lost_is_refused_as_what_it_is(amqp_url: str) -> None:
    """A replica meets it that starts while the broker ends, and has to wait for another one instead of giving up."""
    async with proxied(amqp_url) as broker:
        connection = await connect([URL(broker.url)], timeout_s=5.0)
        lost = asyncio.Event()
        connection.close_callbacks.add(lambda *_: lost.set())
        broker.cut()
        await lost.wait()
        with pytest.raises(AMQPConnectionError, match="the connection to the broker is closed"):
            await connection.channel()
        await connection.close()
