"""Any commands, however batched and spread over two deciders at once with copies: the model explains what is left."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genlock import servers as servers_module
from genlock.servers import Role, Servers
from genlock.service.database.transactions import DECIDING_PLANS, open_pool
from genlock.service.deciding.decide import Decider
from tests.factories import Json, received
from tests.property.replay import Connection, check_explained
from tests.property.strategies import command_lists, moved, splits

enough = settings(max_examples=25, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

BATCHES_AT_ONCE = 6


@dataclass(frozen=True)
class Stage:
    """A decider for a few batches at once, and a connection to look with: one for all examples, as the event loop."""

    runner: asyncio.Runner
    decider: Decider
    connection: Connection


@asynccontextmanager
async def staged(admin_url: str, template: str, role: Role) -> AsyncIterator[tuple[Decider, Connection]]:
    async with (
        servers_module.database(admin_url, template=template) as owner_url,
        await open_pool(role.at(owner_url), size=BATCHES_AT_ONCE, timeout_s=20, plans=DECIDING_PLANS) as pool,
    ):
        connection = await asyncpg.connect(owner_url)
        yield Decider(pool, source="/tests", retention=timedelta(days=14), timeout_s=20), connection
        await connection.close()


@pytest.fixture(scope="module")
def stage(servers: Servers, database_template: str, service_role: Role) -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        context = staged(servers.database_url, database_template, service_role)
        decider, connection = runner.run(context.__aenter__())
        yield Stage(runner, decider, connection)
        runner.run(context.__aexit__(None, None, None))


async def decide_all(decider: Decider, batches: list[list[Json]]) -> list[tuple[str, bytes]]:
    """Decide batches one after the other; return each command's id and answer."""
    answered = []
    for batch in batches:
        answers = await decider.decide([received(members) for members in batch])
        answered += [(members["id"], event.body.encode()) for members, event in zip(batch, answers.events, strict=True)]
    return answered


@enough
@given(st.data())
def test_any_batches_in_two_deciders_at_once_are_explained_by_the_model(stage: Stage, data: st.DataObject) -> None:
    # Records of its own for each run: the same example comes again when a failure is made smaller.
    commands = moved(data.draw(command_lists()), secrets.token_hex(8))
    copies = data.draw(st.lists(st.sampled_from(commands), max_size=8))
    everything = data.draw(st.permutations([*commands, *copies]))
    border = data.draw(st.integers(0, len(everything)))
    halves = [data.draw(splits(everything[:border])), data.draw(splits(everything[border:]))]

    async def decide_and_check() -> None:
        answered = await asyncio.gather(*(decide_all(stage.decider, [b for b in half if b]) for half in halves))
        by_command: dict[str, set[bytes]] = {}
        for command_id, answer in (pair for half in answered for pair in half):
            if b'"code":"id_reused"' not in answer:
                by_command.setdefault(command_id, set()).add(answer)
        # Every copy got the same bytes, and they are the ledger's.
        rows = await stage.connection.fetch(
            "SELECT id, event FROM ledger WHERE id = ANY ($1::uuid[])", list(by_command)
        )
        assert {str(row["id"]): {row["event"].encode()} for row in rows} == by_command
        await check_explained(stage.connection, everything)

    stage.runner.run(decide_and_check())


@enough
@given(command_lists())
def test_two_deciders_with_the_same_commands_at_once_say_the_same(stage: Stage, commands: list[Json]) -> None:
    """As after a lost connection: one replica is still deciding what another one gets again."""
    commands = moved(commands, secrets.token_hex(8))

    async def decide_and_check() -> None:
        one, other = await asyncio.gather(*(decide_all(stage.decider, [commands]) for _ in range(2)))
        kept = [[pair for pair in answered if b'"code":"id_reused"' not in pair[1]] for answered in (one, other)]
        assert kept[0] == kept[1]
        await check_explained(stage.connection, commands)

    stage.runner.run(decide_and_check())
