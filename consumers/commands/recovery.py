"""Recovery: batches that were committed and whose publishing was cut short, settled as their commands come again.

The ledger answers a redelivered command with its event. Its further messages go with that event, as far as they are
still due. Once all commands of its batch have come again and are published, the batch is confirmed. The sweep does the
same later, for batches of which the broker has lost commands or has brought them to several replicas.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from genlock.service.deciding.batch_outcomes import BatchOutcomes, CommandOutcome
from genlock.service.ledger.messages import StoredMessage
from genlock.service.ledger.outbox import Outbox

BATCHES_MAX = 1_000
"""How many batches are recovered at once; the sweep has the ones that were begun first."""


class Recovery:
    """The batches that one consumer recovers within a session."""

    def __init__(self, outbox: Outbox, *, batches_max: int = BATCHES_MAX) -> None:
        self._outbox = outbox
        self._batches_max = batches_max
        self._left: OrderedDict[int, set[str]] = OrderedDict()
        """The commands that are still to be published, of each batch."""

    async def add_messages(self, outcomes: BatchOutcomes, redelivered: Iterable[str]) -> BatchOutcomes:
        """Add to the outcomes of commands that were redelivered what else has perhaps not been published.

        Raises DatabaseTroubleError.
        """
        again = frozenset(redelivered)
        cut_short = {
            outcome.command.id: outcome.unconfirmed
            for outcome in outcomes.outcomes
            if outcome.unconfirmed is not None and (outcomes.retried or outcome.command.id in again)
        }
        messages, commands = await self._outbox.of_commands(cut_short) if cut_short else ({}, {})
        for batch_id, command_ids in commands.items():
            self._left.setdefault(batch_id, command_ids)
        while len(self._left) > self._batches_max:
            self._left.popitem(last=False)
        return replace(outcomes, outcomes=[_recovered(outcome, cut_short, messages) for outcome in outcomes.outcomes])

    def published(self, outcomes: Iterable[CommandOutcome]) -> list[int]:
        """Note outcomes that are published; return the batches of which all are now."""
        done: list[int] = []
        if not self._left:
            return done
        for outcome in outcomes:
            left = self._left.get(outcome.unconfirmed or 0)
            if left is None or outcome.unconfirmed is None:
                continue
            left.discard(outcome.command.id)
            if not left:
                del self._left[outcome.unconfirmed]
                done.append(outcome.unconfirmed)
        return done


def _recovered(
    outcome: CommandOutcome, cut_short: Mapping[str, int], messages: dict[str, list[StoredMessage]]
) -> CommandOutcome:
    """The outcome with its messages, which go with the first copy alone.

    A copy whose publishing was not cut short has none, and says nothing about its batch.
    """
    if outcome.unconfirmed is None:
        return outcome
    if outcome.command.id not in cut_short:
        return replace(outcome, unconfirmed=None)
    return replace(outcome, messages=messages.pop(outcome.command.id, ()))
