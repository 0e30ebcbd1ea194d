"""Connections that are cut, slow, held up or half open, under load: nothing is lost, and all goes on by itself."""

import pytest
from aio_pika.exceptions import AMQPConnectionError

from genlock._net.amqp import connect
from genlock._net.broker_urls import brokers
from genlock.consumers.process.serve import Service
from genlock.service.settings import Settings
from tests.faults.injection import on_link
from tests.faults.load import SOME, Load
from tests.faults.schedule import Fault, Planned
from tests.support.harness import serving, until, until_ready
from tests.support.proxy import BOTH_WAYS, Proxy, Way, proxied

LASTS_S = 1.0

FAULTS = [(fault, BOTH_WAYS) for fault in (Fault.CUT, Fault.DELAY, Fault.STALL, Fault.HALF_OPEN)]
ONE_WAY = [(Fault.HALF_OPEN, frozenset({way})) for way in Way]
"""Against the broker they take as long as a half-open connection on both ways does: it is noticed by its heartbeats."""


async def survives(load: Load, settings: Settings, link: Proxy, planned: Planned) -> None:
    """Work, come to the fault, answer a new command, and leave nothing behind."""
    async with serving(settings) as service:
        load.begin()
        await load.until_seen(SOME)
        await on_link(link, planned)
        await load.probe()
        await load.until_seen(SOME)
        await load.proved()
        await until_ready(service)
        await says_so(service)
    await load.nothing_left()


async def says_so(service: Service) -> None:
    """Return when the replica has looked at itself once more, and found that all is well."""
    before = service.status

    async def looked() -> bool:
        return service.status is not before and not service.status.unready

    await until(looked)


async def test_question_on_a_connection_that_went_dead_fails_and_cancels_no_caller(amqp_url: str) -> None:
    """A waiting caller would take a CancelledError for the end of its own task."""
    async with proxied(amqp_url) as broker:
        connection = await connect(brokers(broker.url, heartbeat_s=1), timeout_s=5)
        channel = await connection.channel()
        broker.half_open()
        with pytest.raises(AMQPConnectionError):
            await channel.declare_queue(exclusive=True)
        await connection.close()


@pytest.mark.parametrize(("fault", "ways"), FAULTS)
async def test_a_faulty_connection_to_the_broker_loses_and_repeats_nothing(
    load: Load, remote: Settings, broker: Proxy, fault: Fault, ways: frozenset[Way]
) -> None:
    await survives(load, remote, broker, Planned(0, fault, "the broker", LASTS_S, ways))


@pytest.mark.parametrize(("fault", "ways"), [*FAULTS, *ONE_WAY])
async def test_a_faulty_connection_to_the_database_loses_and_repeats_nothing(
    load: Load, remote: Settings, database: Proxy, fault: Fault, ways: frozenset[Way]
) -> None:
    await survives(load, remote, database, Planned(0, fault, "the database", LASTS_S, ways))
