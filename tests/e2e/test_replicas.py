"""Two replicas on one inbox: one verdict for each command, applied once, whatever they get in whatever order."""

import random
from collections import Counter

from genlock.service.deciding.failpoints import Step
from genlock.service.settings import Settings
from tests.property.replay import check_explained
from tests.support.database import Connection
from tests.support.factories import Json, envelope, new_id
from tests.support.harness import Client, serving

COMMANDS = 500


def mixed_commands(chance: random.Random) -> list[Json]:
    """Commands on a few records, most of them with a token that may be the one by then."""
    documents, stacks = [new_id() for _ in range(4)], [new_id() for _ in range(4)]
    names, commands = [new_id() for _ in range(3)], list[Json]()
    for number in range(COMMANDS // 2):
        document, stack = chance.choice(documents), chance.choice(stacks)
        made = [command["id"] for command in commands if command["subject"] == stack]
        verb = chance.choice(("create", "update", "delete", "set_state")) if made else "create"
        data: dict[str, Json] = {
            "create": {"name": chance.choice(names), "template": {}},
            "update": {"template": {"n": number}},
        }
        report = {"status": chance.choice(("COMPLETE", "FAILED")), "reason": ""} if verb == "set_state" else {}
        expected = {} if verb == "create" else {"expected_traversal": chance.choice(made[-6:])}
        guess = chance.choice((None, *range(number // 8 + 2)))
        commands += [
            envelope(f"stack.{verb}", stack, data.get(verb, {}) | report | expected),
            chance.choice(
                (
                    envelope("document.put", document, {"expected_generation": guess, "body": {"n": number}}),
                    envelope("document.merge", document, {"patch": {f"n{number}": number}}),
                )
            ),
        ]
    return commands


async def test_two_replicas_give_one_verdict_each_and_apply_everything_once(
    client: Client, second: Connection, settings: Settings
) -> None:
    chance = random.Random(7)
    commands = mixed_commands(chance)
    again = chance.sample(commands, COMMANDS // 2)
    steps: list[list[Step]] = [[], []]
    few = settings.model_copy(update={"batch_size_max": 16, "prefetch": 32})
    async with serving(few, failpoint=steps[0].append), serving(few, failpoint=steps[1].append):
        await client.flood([*commands, *again])
        await client.decided(*commands, *again)
    assert min(reached.count(Step.SETTLED) for reached in steps) > 0
    await client.until_empty(client.topology.inbox)
    assert await client.depth(client.topology.dead_letters) == 0
    assert await second.fetchval("SELECT count(*) FROM ledger") == COMMANDS
    published = Counter({command_id: len(bodies) for command_id, bodies in client.bodies.items()})
    assert published == Counter(command["id"] for command in [*commands, *again])
    assert all(len(set(bodies)) == 1 for bodies in client.bodies.values())
    await check_explained(second, commands)
    verdicts = {row["verdict"] for row in await second.fetch("SELECT verdict FROM ledger")}
    assert verdicts == {"succeeded", "conflict", "rejected"}


async def test_a_replica_that_comes_late_shares_the_work_and_one_that_leaves_loses_none(
    client: Client, second: Connection, settings: Settings
) -> None:
    document = new_id()
    create = envelope("document.put", document, {"expected_generation": None, "body": {}})
    merges = [envelope("document.merge", document, {"patch": {f"n{n}": n}}) for n in range(300)]
    few = settings.model_copy(update={"batch_size_max": 8, "prefetch": 16})
    async with serving(few):
        await client.ask(create)
        await client.flood(merges[:100])
        async with serving(few):
            await client.flood(merges[100:200])
        await client.flood(merges[200:])
        await client.decided(*merges)
    assert await second.fetchval("SELECT generation FROM documents") == len(merges)
    await check_explained(second, [create, *merges])
