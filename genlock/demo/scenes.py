"""What the demo plays, and what each scene claims of itself."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genlock.demo.stage import Stage
from genlock.schemas.base import JsonObject
from genlock.schemas.codes import Reason
from genlock.schemas.outcomes import Conflict, Outcome, Succeeded, TraversalToken

Lines = list[JsonObject]

KILL_AFTER = 100
"""How many of the thousand outcomes are seen before the service is killed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a scene says of itself, and what was found."""

    text: str
    found: str
    holds: bool


async def one_winner(stage: Stage, lines: Lines) -> list[Claim]:
    """32 updates of one stack that all loaded traversal X."""
    create, *updates = lines
    await stage.client.send_envelope(create)
    outcomes = await stage.send(updates)
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
    row = await stage.database.fetchrow("SELECT traversal, sequence FROM stacks WHERE id = $1", create["subject"])
    return [
        _equal("exactly one of 32 wins", len(winners), 1),
        _equal("31 conflicts name the winner and its traversal", len(named), 31),
        _equal("the stack's row has the winner's traversal", str(row["traversal"] if row else None), winner),
    ]


async def failure_too_late(stage: Stage, lines: Lines) -> list[Claim]:
    """A stack fails under a traversal that an update has taken over."""
    create, update, failure = lines
    await stage.client.send_envelope(create)
    taken_over = await stage.client.send_envelope(update)
    outcome = await stage.client.send_envelope(failure)
    row = await stage.database.fetchrow(
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


async def metadata(stage: Stage, lines: Lines) -> list[Claim]:
    """50 merges that commute, and 20 that are guarded by a generation, five for each of four generations."""
    create, *rest = lines
    await stage.client.send_envelope(create)
    commuting = [line for line in rest if "expected_generation" not in line["data"]]
    guarded = [line for line in rest if "expected_generation" in line["data"]]
    merged = await stage.send(commuting)
    winners = []
    for generation in sorted({line["data"]["expected_generation"] for line in guarded}):
        outcomes = await stage.send(line for line in guarded if line["data"]["expected_generation"] == generation)
        winners.append(sum(isinstance(outcome, Succeeded) for outcome in outcomes))
    row = await stage.database.fetchrow("SELECT generation, body FROM documents WHERE id = $1", create["subject"])
    body = json.loads(row["body"]) if row else {}
    lost = [key for line in commuting for key in line["data"]["patch"] if key not in body]
    return [
        _equal("50 commuting merges succeed", sum(isinstance(outcome, Succeeded) for outcome in merged), 50),
        _equal("none of their keys is lost", lost, []),
        _equal("of the guarded ones, one for each generation wins", winners, [1, 1, 1, 1]),
        _equal("the generation counts the winners", row["generation"] if row else None, 54),
    ]


async def redelivered(stage: Stage, lines: Lines) -> list[Claim]:
    """One command, delivered twice."""
    (line,) = lines
    first = await stage.client.send_envelope(line)
    second = await stage.client.send_envelope(line)
    sequence = await stage.database.fetchval("SELECT sequence FROM documents WHERE id = $1", line["subject"])
    return [
        Claim("both deliveries are answered with the same event", first.id, first == second),
        _equal("it is applied once", sequence, 1),
    ]


async def killed(stage: Stage, lines: Lines) -> list[Claim]:
    """1,000 commands, and SIGKILL in the middle of them."""
    seen: dict[str, Outcome] = {}
    differing = 0
    async with stage.client.events("document.merge.*") as events:
        ids = set(await asyncio.gather(*map(stage.client.publish_envelope, lines)))
        decided_at_kill = None
        async for outcome in events:
            differing += outcome.command_id in seen and seen[outcome.command_id] != outcome
            seen[outcome.command_id] = outcome
            if len(seen) == KILL_AFTER and decided_at_kill is None:
                await stage.replica.kill()
                decided_at_kill = await stage.database.fetchval(
                    "SELECT count(*) FROM ledger WHERE id = ANY ($1::uuid[])", ids
                )
                await stage.replica.start()
            if len(seen) == len(ids):
                break
    rows = await stage.database.fetch(
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


SCENES: Mapping[str, Callable[[Stage, Lines], Awaitable[list[Claim]]]] = {
    "one_winner": one_winner,
    "failure_too_late": failure_too_late,
    "metadata": metadata,
    "redelivered": redelivered,
    "killed": killed,
}


def _equal(text: str, found: Any, expected: Any) -> Claim:
    return Claim(text, str(found), found == expected)
