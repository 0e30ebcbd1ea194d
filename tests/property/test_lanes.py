"""Lanes in any interleaving: each record's commands get the verdicts that they would get one by one, in their order.

A lane is decided in order, from somewhere at which everything before is decided: that is all that the broker gives.
It does not keep two processes from deciding one lane at once, as when one is cut off and does not know it yet.
"""

import asyncio
import json
import secrets

from hypothesis import given
from hypothesis import strategies as st

from tests.property.deciding import Deciding, decide_all, enough, summary_of
from tests.property.model import Model
from tests.property.strategies import command_lists, comparable, moved, splits, summaries_of
from tests.support.factories import Json

LANES = 3


def on_records_of_their_own(commands: list[Json]) -> list[Json]:
    """The commands, with a name for each stack that no other stack takes: then nothing connects two records."""
    for command in commands:
        if "name" in command["data"]:
            command["data"]["name"] += f" of {command['subject']}"
    return commands


@enough
@given(st.data())
def test_commands_of_a_record_are_decided_as_if_one_by_one_in_their_order(
    deciding: Deciding, data: st.DataObject
) -> None:
    commands = on_records_of_their_own(moved(data.draw(command_lists()), secrets.token_hex(8)))
    subjects = sorted({command["subject"] for command in commands})
    lane_of = {subject: data.draw(st.integers(0, LANES - 1)) for subject in subjects}
    lanes = [[command for command in commands if lane_of[command["subject"]] == lane] for lane in range(LANES)]
    # Each lane is decided by two processes at once, each in batches of its own.
    walks = [data.draw(splits(lane)) for lane in (*lanes, *lanes)]

    async def decide_and_check() -> None:
        answered = await asyncio.gather(
            *(decide_all(deciding.decider, [batch for batch in walk if batch]) for walk in walks)
        )
        for walk, events in zip(walks, answered, strict=True):
            in_order = [command for batch in walk for command in batch]
            for subject in {command["subject"] for command in in_order}:
                own = [number for number, command in enumerate(in_order) if command["subject"] == subject]
                expected = summaries_of(Model(), [in_order[number] for number in own])
                assert comparable(summary_of(json.loads(events[number][1])) for number in own) == comparable(expected)

    deciding.runner.run(decide_and_check())
