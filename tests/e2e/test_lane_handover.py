"""Lanes that change hands, by death, by a stop, by a lost connection: in order, with nothing lost or doubled."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from genlock.service.deciding.failpoints import Step
from genlock.service.settings import Settings
from tests.property.replay import check_explained
from tests.support.chains import Chain, broken, chains, links_of, send_chains
from tests.support.database import Connection
from tests.support.factories import envelope, new_id
from tests.support.forked import start_module
from tests.support.frame_proxy import frames_proxied
from tests.support.harness import DEADLINE_S, Client, serving, until
from tests.support.paths import REPOSITORY
from tests.support.prefetches import Prefetches
from tests.support.proxy import Cut, Proxy, proxied

LANES = 3


@pytest.fixture
def lanes() -> int:
    return LANES


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Small batches and little that is held, so that a hand-over meets lanes in the middle."""
    few = {"batch_size_max": 8, "prefetch": 80, "retry_delay_max_s": 0.2}
    return settings.model_copy(update=few)


@pytest.fixture
async def brokers(amqp_url: str) -> AsyncIterator[list[Proxy]]:
    """What each of two replicas takes for the broker."""
    async with proxied(amqp_url) as one, proxied(amqp_url) as other:
        yield [one, other]


@dataclass
class Every:
    """Does something whenever a replica has been at a step so many times, and not for ever."""

    step: Step
    count: int
    left: int
    """How often it will be done yet."""
    act: Callable[[], None] = lambda: None
    seen: int = 0

    def __call__(self, reached: Step) -> None:
        self.seen += reached is self.step
        if reached is self.step and self.left and self.seen % self.count == 0:
            self.left -= 1
            self.act()


async def until_decided(client: Client, count: int) -> None:
    """Return when so many commands have their outcome."""

    async def so() -> bool:
        return len(client.bodies) >= count

    await until(so)


async def assert_nothing_lost_or_doubled(client: Client, second: Connection, sent: list[Chain]) -> None:
    """Every link succeeded, was applied once, and has one outcome, however often that was told."""
    assert await broken(client, sent) == 0
    assert all(len(set(bodies)) == 1 for bodies in client.bodies.values())
    assert await second.fetchval("SELECT count(*) FROM ledger") == len(links_of(sent))
    await check_explained(second, links_of(sent))


async def killed(settings: Settings, client: Client, after: int) -> None:
    """Run `genlock serve` until it has decided so many commands, and kill it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GENLOCK_")}
    environment |= {
        "GENLOCK_DATABASE_URL": settings.database_url.get_secret_value(),
        "GENLOCK_AMQP_URL": settings.amqp_url.get_secret_value(),
        "GENLOCK_NAMESPACE": settings.namespace,
        "GENLOCK_LANES": str(settings.lanes),
        "GENLOCK_BATCH_SIZE_MAX": str(settings.batch_size_max),
        "GENLOCK_HTTP_PORT": "0",
    }
    process = await start_module(
        "tests.e2e.programs.serve", cwd=REPOSITORY, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    await until_decided(client, after)
    process.send_signal(signal.SIGKILL)
    async with asyncio.timeout(DEADLINE_S):
        assert await process.wait() == -signal.SIGKILL


async def test_a_process_that_waits_takes_the_lanes_over_when_theirs_is_killed(
    client: Client, settings: Settings, second: Connection
) -> None:
    sent = chains(20, links=30)
    await send_chains(client, sent)
    killing = asyncio.create_task(killed(settings, client, after=100))
    await until_decided(client, 1)
    async with serving(settings):
        await killing
        await assert_nothing_lost_or_doubled(client, second, sent)


async def test_a_process_that_stops_hands_its_lanes_over_in_order(
    client: Client, settings: Settings, second: Connection
) -> None:
    sent = chains(20, links=30)
    stops = [Every(Step.SETTLED, 8, left=1), Every(Step.SETTLED, 8, left=1)]
    async with (
        serving(settings, failpoint=stops[0]) as one,
        serving(settings, failpoint=stops[1]) as other,
        serving(settings),
    ):
        stops[0].act, stops[1].act = one.stop, other.stop
        await send_chains(client, sent)
        await assert_nothing_lost_or_doubled(client, second, sent)
    assert [stop.left for stop in stops] == [0, 0]


async def test_lanes_that_are_lost_again_and_again_keep_their_order(
    client: Client, settings: Settings, second: Connection, brokers: list[Proxy]
) -> None:
    sent = chains(24, links=25)
    await send_chains(client, sent)
    # One loses its connection between the commit and the outcome, the other between the outcome and its settling.
    cuts = [
        Every(step, 12, left=3, act=broker.cut)
        for step, broker in zip((Step.COMMITTED, Step.PUBLISHED), brokers, strict=True)
    ]
    one, other = [settings.model_copy(update={"amqp_url": SecretStr(broker.url)}) for broker in brokers]
    async with serving(one, failpoint=cuts[0]), serving(other, failpoint=cuts[1]):
        await until_decided(client, len(links_of(sent)))
        async with asyncio.timeout(2 * DEADLINE_S):
            while any(cut.left for cut in cuts):
                # One may hold all lanes by now: whichever has had its cuts hands them over.
                for cut, broker in zip(cuts, brokers, strict=True):
                    if not cut.left:
                        broker.cut()
                sent += (more := chains(24, links=10))
                await send_chains(client, more)
                await until_decided(client, len(links_of(sent)))
        await assert_nothing_lost_or_doubled(client, second, sent)


async def test_a_lane_is_kept_while_the_database_is_away_from_its_process(
    client: Client, settings: Settings, second: Connection, database_url: str
) -> None:
    """The broker would deliver the lane's next commands to the other process, which can reach its database."""
    [chain] = sent = chains(1, links=20)
    async with proxied(database_url) as database:
        cut_off = settings.model_copy(update={"database_url": SecretStr(database.url), "prefetch": 10})
        async with serving(cut_off) as active, serving(settings) as standby:
            await client.send_addressed(chain[0])
            await client.decided(chain[0])
            database.next_cut = Cut(b"BEGIN", always=True)
            await client.send_addressed(*chain[1:])

            async def tried_twice() -> bool:
                return database.cuts >= 2

            await until(tried_twice)
            # This process holds as many of the lane's commands as its prefetch allows, and no other process holds any.
            held = 10 // len(client.topology.command_queues)
            await client.until_depth(active._activity.lanes[0], len(chain) - 1 - held)
            # What waits in the lane of another process is no reason to be restarted.
            assert active._probes is not None
            assert await active._probes.count_waiting() == len(chain) - 1 - held
            assert standby._probes is not None
            assert await standby._probes.count_waiting() == 0
            database.next_cut = None
            await assert_nothing_lost_or_doubled(client, second, sent)
            assert all(len(bodies) == 1 for bodies in client.bodies.values())


async def test_a_lane_is_held_carefully_after_a_fault_and_then_taken_in_full_again(
    client: Client, settings: Settings, second: Connection
) -> None:
    steps: list[Step] = []
    prefetches = Prefetches()
    sent = chains(1, links=80)
    await send_chains(client, sent)
    async with frames_proxied(settings.amqp_url.get_secret_value(), prefetches) as broker:

        def cut_once(step: Step) -> None:
            steps.append(step)
            if step is Step.COMMITTED and steps.count(step) == 1:
                broker.cut()

        async with serving(settings, amqp_url=SecretStr(broker.url), failpoint=cut_once):
            await assert_nothing_lost_or_doubled(client, second, sent)
    share = settings.prefetch // len(client.topology.command_queues)
    first, *later = prefetches.brought
    assert first.prefetches == [share]
    # One delivery until it is settled; a session more if the first one that is careful is lost before.
    assert {each.prefetches[0] for each in later} == {1}
    assert {each.before_the_first for each in later} == {1}
    assert later[-1].prefetches == [1, share]


async def test_what_comes_while_a_process_stops_waits_for_the_next_one(client: Client, settings: Settings) -> None:
    """A lane's consumer stays registered to the end, so the broker brings more; that goes back unread."""
    document = new_id()
    create = envelope("document.put", document, {"expected_generation": None, "body": {}})
    commands = [envelope("document.merge", document, {"patch": {f"n{n}": n}}) for n in range(400)]
    async with serving(settings) as service:
        await client.send_addressed(create)
        await client.decided(create)
        sending = asyncio.create_task(client.send_addressed(*commands))
        await until_decided(client, 20)
        service.stop()
    await sending
    decided = len(client.bodies) - 1
    assert decided < len(commands)
    [depth] = [count for queue in client.topology.lane_queues if (count := await client.depth(queue))]
    assert depth == len(commands) - decided
    async with serving(settings):
        events = await client.decided(*commands)
    assert [event["data"]["token"]["generation"] for event in events] == list(range(1, len(commands) + 1))
    assert all(len(bodies) == 1 for bodies in client.bodies.values())
