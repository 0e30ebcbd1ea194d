"""The messages of a batch: each outcome answers its own command, and what could be lost is published again."""

from dataclasses import replace

import pytest

from genlock.consumers.amqp.publisher import Outgoing
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.commands.dead_lettering import by_tag
from genlock.consumers.commands.deliveries import Delivery
from genlock.consumers.commands.messages import messages
from genlock.consumers.health.metrics import Metrics
from genlock.service.deciding.batch_outcomes import BatchOutcomes, CommandOutcome, HeldCommand
from genlock.service.deciding.fold import INTERNAL_ERROR
from genlock.service.deciding.verdicts import refused
from genlock.service.ledger import events
from tests.support.documents import creation
from tests.unit.test_holding import delivered

TOPOLOGY = Topology("genlock")


def failed(delivery: Delivery) -> CommandOutcome:
    """The outcome of a command that a fault of the service ended."""
    [command] = delivery.commands
    verdict = refused(command, None, INTERNAL_ERROR).verdict
    return CommandOutcome(command, events.build(command, verdict, "/genlock", "2026-01-01T00:00:00.000000Z"))


def published(deliveries: list[Delivery], outcomes: BatchOutcomes) -> list[Outgoing]:
    return list(messages(deliveries, outcomes, TOPOLOGY, "/genlock", Metrics()))


async def test_outcome_never_answers_another_command() -> None:
    first, second = await delivered(creation("a"), "document.put"), await delivered(creation("b"), "document.put")
    with pytest.raises(RuntimeError, match="was about to answer"):
        published([first, second], BatchOutcomes([failed(second), failed(first)], []))


async def test_outcomes_of_copies_that_are_held_are_left_to_them_and_to_the_sweep() -> None:
    deliveries = [await delivered(creation(name), "document.put") for name in ("a", "b")]
    decided = BatchOutcomes([failed(delivery) for delivery in deliveries], [7])
    [held] = deliveries[0].commands
    left = decided.without({held.id: HeldCommand(frozenset(), "the test")})
    assert [outcome.command for outcome in left.outcomes] == deliveries[1].commands
    assert left.batch_ids == []
    assert decided.without({}) is decided


@pytest.mark.parametrize(
    ("redelivered", "retried", "dead_letters"), [(False, False, 0), (True, False, 1), (False, True, 1)]
)
async def test_dead_letter_that_an_earlier_try_has_perhaps_not_published_is_published(
    *, redelivered: bool, retried: bool, dead_letters: int
) -> None:
    delivery = replace(await delivered(creation("a"), "document.put"), redelivered=redelivered)
    told = published([delivery], BatchOutcomes([failed(delivery)], [], retried=retried))
    assert [message.exchange for message in told] == [TOPOLOGY.events] + [TOPOLOGY.dead] * dead_letters


def test_dead_letters_wait_for_all_that_is_left_to_decide_of_their_delivery() -> None:
    letters = [Outgoing("dead", "", b"", b"", tag=tag) for tag in (1, 2, 2, 3)]
    now, later = by_tag(letters, {1, 3})
    assert [letter.tag for letter in now] == [1, 3]
    assert [letter.tag for letter in later] == [2, 2]
