"""The scenarios of the demo, and their claims."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from genlock.client import Client
from genlock.demo.deployment import Deployment
from genlock.schemas.base import JsonObject
from genlock.schemas.codes import Code, Reason
from genlock.schemas.outcomes import Conflict, Outcome, Rejected, Succeeded, TraversalToken, UnknownEvent
from genlock.schemas.providers import ProviderSetTraits, ProviderState

Lines = list[JsonObject]

KILL_AFTER = 100
"""The service is killed after this many of the thousand outcomes."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of a scenario, and the actual result."""

    text: str
    found: str
    holds: bool


async def one_winner(deployment: Deployment, lines: Lines) -> list[Claim]:
    """32 updates of one stack that all loaded traversal X."""
    create, *updates = lines
    await deployment.client.send_envelope(create)
    outcomes = await deployment.send(updates)
    winners = [outcome for outcome in outcomes if isinstance(outcome, Succeeded)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    winner = winners[0].command_id
    named = [
        loser
        for loser in losers
        if loser.reason is Reason.SUPERSEDED
        and loser.winner is not None
        and loser.winner.command_id == winner
        and isinstance(loser.actual, TraversalToken)
        and loser.actual.traversal == winner
    ]
    row = await deployment.database.fetchrow("SELECT traversal, sequence FROM stacks WHERE id = $1", create["subject"])
    return [
        _equal("exactly one of 32 wins", len(winners), 1),
        _equal("31 conflicts name the winner and its traversal", len(named), 31),
        _equal("the stack's row has the winner's traversal", str(row["traversal"] if row else None), winner),
    ]


async def failure_too_late(deployment: Deployment, lines: Lines) -> list[Claim]:
    """A stack fails under a traversal that an update has taken over."""
    create, update, failure = lines
    await deployment.client.send_envelope(create)
    taken_over = await deployment.client.send_envelope(update)
    outcome = await deployment.client.send_envelope(failure)
    row = await deployment.database.fetchrow(
        "SELECT action, status, traversal, sequence FROM stacks WHERE id = $1", create["subject"]
    )
    told = isinstance(outcome, Conflict) and outcome.reason is Reason.SUPERSEDED and not outcome.retry.allowed
    return [
        Claim("the failure is told that it was superseded, and not to retry", outcome.type, told),
        _equal(
            "the stack is as the update left it",
            " ".join(map(str, row or [])),
            f"UPDATE IN_PROGRESS {taken_over.command_id} 2",
        ),
    ]


async def metadata(deployment: Deployment, lines: Lines) -> list[Claim]:
    """50 merges that commute, and 20 that are guarded by a generation, five for each of four generations."""
    create, *rest = lines
    await deployment.client.send_envelope(create)
    commuting = [line for line in rest if "expected_generation" not in line["data"]]
    guarded = [line for line in rest if "expected_generation" in line["data"]]
    merged = await deployment.send(commuting)
    winners = []
    for generation in sorted({line["data"]["expected_generation"] for line in guarded}):
        outcomes = await deployment.send(line for line in guarded if line["data"]["expected_generation"] == generation)
        winners.append(sum(isinstance(outcome, Succeeded) for outcome in outcomes))
    row = await deployment.database.fetchrow("SELECT generation, body FROM documents WHERE id = $1", create["subject"])
    body = json.loads(row["body"]) if row else {}
    lost = [key for line in commuting for key in line["data"]["patch"] if key not in body]
    return [
        _equal("50 commuting merges succeed", sum(isinstance(outcome, Succeeded) for outcome in merged), 50),
        _equal("none of their keys is lost", lost, []),
        _equal("of the guarded ones, one for each generation wins", winners, [1, 1, 1, 1]),
        _equal("the generation counts the winners", row["generation"] if row else None, 54),
    ]


async def redelivered(deployment: Deployment, lines: Lines) -> list[Claim]:
    """One command, delivered twice."""
    (line,) = lines
    first = await deployment.client.send_envelope(line)
    second = await deployment.client.send_envelope(line)
    sequence = await deployment.database.fetchval("SELECT sequence FROM documents WHERE id = $1", line["subject"])
    return [
        Claim("both deliveries are answered with the same event", first.id, first == second),
        _equal("it is applied once", sequence, 1),
    ]


async def killed(deployment: Deployment, lines: Lines) -> list[Claim]:
    """1,000 commands, and SIGKILL in the middle of them."""
    seen: dict[str, Outcome | UnknownEvent] = {}
    differing = 0
    half = len(lines) // 2
    async with deployment.client.events("document.merge.*") as events:
        ids = set(await asyncio.gather(*map(deployment.client.publish_envelope, lines[:half])))
        decided_at_kill = None
        async for outcome in events:
            differing += outcome.command_id in seen and seen[outcome.command_id] != outcome
            seen[outcome.command_id] = outcome
            if len(seen) == KILL_AFTER and decided_at_kill is None:
                # The second half is sent by then, so the kill interrupts the work however fast the service is.
                publishing = [asyncio.create_task(deployment.client.publish_envelope(line)) for line in lines[half:]]
                await asyncio.wait(publishing, return_when=asyncio.FIRST_COMPLETED)
                await deployment.replica.kill()
                ids.update(await asyncio.gather(*publishing))
                decided_at_kill = await deployment.database.fetchval(
                    "SELECT count(*) FROM ledger WHERE id = ANY ($1::uuid[])", ids
                )
                await deployment.replica.start()
            if len(seen) == len(ids):
                break
    rows = await deployment.database.fetch(
        "SELECT body, generation, sequence FROM documents WHERE id = ANY ($1::text[])",
        list({line["subject"] for line in lines}),
    )
    keys = sum(len(json.loads(row["body"])) for row in rows)
    succeeded = sum(isinstance(outcome, Succeeded) for outcome in seen.values())
    return [
        Claim(
            "it is killed in the middle",
            f"{decided_at_kill} of {len(ids)} decided",
            0 < (decided_at_kill or 0) < len(ids),
        ),
        _equal("every command has its outcome", succeeded, 1_000),
        _equal("nothing is lost: each has left its key", keys, 1_000),
        _equal("nothing is doubled: as many changes as commands", sum(row["sequence"] for row in rows), 1_000),
        _equal("events that came twice were the same", differing, 0),
    ]


async def publishers(deployment: Deployment, lines: Lines) -> list[Claim]:
    """32 publishers set the traits of one provider: blindly, then starting again after each conflict."""
    create, *blind = lines
    await deployment.client.send_envelope(create)
    outcomes = await deployment.send(blind)
    traits = [line["data"]["traits"][0] for line in blind]
    attempts = await asyncio.gather(*(_add_trait(deployment.client, create["subject"], trait) for trait in traits))
    row = await deployment.database.fetchrow(
        "SELECT traits, generation FROM providers WHERE id = $1", create["subject"]
    )
    missing = set(traits) - set(row["traits"] if row else [])
    late = [outcome for outcome in outcomes if isinstance(outcome, Conflict) and outcome.reason is Reason.STALE]
    return [
        _equal("blindly, exactly one of 32 wins", sum(isinstance(outcome, Succeeded) for outcome in outcomes), 1),
        _equal("31 are told that they are late", len(late), 31),
        _equal("starting again, none of the 32 traits is lost", sorted(missing), []),
        Claim(
            "that takes more than one attempt each",
            f"{sum(attempts)} attempts, at most {max(attempts)} of one publisher",
            sum(attempts) > len(blind),
        ),
        _equal("the generation counts the winners", row["generation"] if row else None, 32),
    ]


async def _add_trait(client: Client, provider_id: str, trait: str) -> int:
    """Add one trait to those that others set; return how many attempts it took, none where it is there already."""

    def with_trait(provider: ProviderState | None) -> partial[ProviderSetTraits] | None:
        traits = provider.traits if provider else []
        return None if trait in traits else partial(ProviderSetTraits, traits=[*traits, trait])

    outcome = await client.change("provider", provider_id, with_trait)
    return outcome.attempt if outcome else 0


async def tree_moves(deployment: Deployment, lines: Lines) -> list[Claim]:
    """Pairs of moves in a tree, each legal alone, that together would make a loop."""
    await deployment.send(line for line in lines if line["type"] == "provider.create")
    moves = [line for line in lines if line["type"] == "provider.update"]
    pairs = [await deployment.send(moves[first : first + 2]) for first in range(0, len(moves), 2)]
    winners = [sum(isinstance(outcome, Succeeded) for outcome in pair) for pair in pairs]
    losers = [outcome for pair in pairs for outcome in pair if not isinstance(outcome, Succeeded)]
    told = [
        outcome
        for outcome in losers
        if isinstance(outcome, Conflict) or (isinstance(outcome, Rejected) and outcome.code is Code.PARENT_LOOP)
    ]
    in_loops = await deployment.database.fetchval(
        "WITH RECURSIVE above AS ("
        " SELECT id, parent_id FROM providers WHERE id = ANY ($1::uuid[])"
        " UNION SELECT above.id, providers.parent_id FROM above JOIN providers ON providers.id = above.parent_id"
        ") SELECT count(*) FROM above WHERE id = parent_id",
        [line["subject"] for line in moves],
    )
    return [
        _equal("exactly one of each pair wins", winners, [1] * len(pairs)),
        _equal("the other is told of the loop, or of the conflict", len(told), len(pairs)),
        _equal("no provider is above itself", in_loops, 0),
    ]


async def last_units(deployment: Deployment, lines: Lines) -> list[Claim]:
    """60 consumers that each want one unit of two providers, which have ten each."""
    for line in lines:
        if line["type"].startswith("provider."):
            await deployment.client.send_envelope(line)
    claims = [line for line in lines if line["type"] == "consumer.set_allocations"]
    outcomes = await deployment.send(claims)
    short = [
        (shortage.asked, shortage.used, shortage.capacity)
        for outcome in outcomes
        if isinstance(outcome, Rejected) and outcome.code is Code.CAPACITY_EXCEEDED
        for shortage in outcome.data.shortages or []
    ]
    providers = {line["subject"] for line in lines if line["type"] == "provider.create"}
    rows = await deployment.database.fetch(
        "SELECT used, (SELECT sum(amount) FROM allocations WHERE allocations.provider_id = inventories.provider_id)"
        " FROM inventories WHERE provider_id = ANY ($1::uuid[])",
        list(providers),
    )
    return [
        _equal("exactly ten of 60 are granted", sum(isinstance(outcome, Succeeded) for outcome in outcomes), 10),
        _equal("50 are told of both providers: asked, used, capacity", Counter(short), Counter({(1, 10, 10): 100})),
        _equal("of each provider ten are used, and as many allocated", [tuple(row) for row in rows], [(10, 10)] * 2),
    ]


SCENARIOS: Mapping[str, Callable[[Deployment, Lines], Awaitable[list[Claim]]]] = {
    "one_winner": one_winner,
    "failure_too_late": failure_too_late,
    "metadata": metadata,
    "redelivered": redelivered,
    "killed": killed,
    "publishers": publishers,
    "tree_moves": tree_moves,
    "last_units": last_units,
}


def _equal(text: str, found: Any, expected: Any) -> Claim:
    return Claim(text, str(found), found == expected)
