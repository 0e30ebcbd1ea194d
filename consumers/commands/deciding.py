"""Deciding a batch at the edge: for as long as the database takes, and without what cannot be decided here and now."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from time import monotonic
from typing import TypeVar

import structlog

from genlock.consumers.backoff import growing_pauses
from genlock.consumers.commands.batching import Batch
from genlock.consumers.commands.confirmations import Confirmations
from genlock.consumers.commands.deliveries import Delivery, commands_of, split
from genlock.consumers.commands.holding import giants, held_messages, without
from genlock.consumers.commands.parking import Parking
from genlock.consumers.commands.recovery import Recovery
from genlock.consumers.health.activity import Activity
from genlock.schemas.decode import Command
from genlock.service.database.clocks import ClocksDifferError
from genlock.service.database.transactions import DatabaseTroubleError
from genlock.service.deciding.batch_outcomes import BatchOutcomes, HeldCommand
from genlock.service.deciding.blame import follow
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Failpoint, Step, ignore
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.limits import OUTCOMES_BYTES_MAX, TooMuchError, bytes_of
from genlock.service.ledger.held import HeldTable

T = TypeVar("T")

SUSPECTS_AT_ONCE = 8
"""How many commands of a delivery that may have killed its process are decided before their outcomes are published."""

FOR_NEWER = "unknown_type: newer replicas can decide it; retry it when all are"
"""Why a command is a dead letter that an older replica got during an upgrade (docs/upgrading.md)."""

BEHIND_GIANT = "an earlier command touches very many records"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DecidedBatch:
    """Deliveries in their order, and the outcomes of their commands."""

    deliveries: list[Delivery]
    outcomes: BatchOutcomes
    rest: Batch | None = None
    """What is still to be decided, where all of it was too much for one transaction."""

    @property
    def settled(self) -> list[Delivery]:
        """The deliveries of which nothing is left to decide."""
        cut = self.rest.deliveries[0].tag if self.rest else 0
        return [delivery for delivery in self.deliveries if delivery.tag != cut]


def _expected_to_fit(outcomes: BatchOutcomes) -> int:
    """How many commands like those of a part that did fit are to be decided next: up to twice as many."""
    size = sum(bytes_of(event.body) for event in outcomes.events)
    count = len(outcomes.outcomes)
    return max(1, min(2 * count, count * OUTCOMES_BYTES_MAX // max(size, 1)))


class BatchDecider:
    """Decides the batches of one consumer. In order, a batch that cannot be decided holds up what comes after it."""

    def __init__(
        self,
        decider: Decider,
        confirmations: Confirmations,
        parking: Parking,
        recovery: Recovery,
        activity: Activity,
        *,
        held: HeldTable,
        in_order: bool,
        retry_delay_max_s: float,
        failpoint: Failpoint = ignore,
    ) -> None:
        self._decider = decider
        self._confirmations = confirmations
        self._parking = parking
        self._recovery = recovery
        self._activity = activity
        self._held = held
        self._failpoint = failpoint
        self._in_order = in_order
        self._retry_delay_max_s = retry_delay_max_s

    async def decide(self, batch: Batch) -> DecidedBatch:
        """Decide what this program can decide.

        Commands on a record in trouble, and those that touch very many records, are held in the database. A command
        for a newer program becomes a dead letter, and one on which the clocks disagree is parked.
        """
        began = monotonic()
        decided = await self._decide(batch)
        self._activity.metrics.decided(len(decided.outcomes.outcomes), monotonic() - began)
        return decided

    async def _decide(self, batch: Batch) -> DecidedBatch:
        deliveries, commands, at_once = batch.deliveries, batch.commands, batch.at_once
        footprint: Footprint | None = None if at_once else batch.footprint
        newer = await self.patiently(lambda: self._decider.for_newer(commands), len(commands))
        if newer:
            deliveries = [delivery.without(newer, FOR_NEWER) for delivery in deliveries]
            commands, footprint = commands_of(deliveries), None
        cut = False
        suspicious = bool(deliveries) and deliveries[0].suspicious
        tries = count()
        if suspicious:
            at_once = SUSPECTS_AT_ONCE
        while deliveries and commands:
            now, rest = split(deliveries, at_once) if at_once else (deliveries, [])
            commands, aside = commands_of(now), giants(now, self._decider.kinds)
            if aside:
                commands, aside = follow(self._decider.kinds, commands, (), BEHIND_GIANT, aside)
                footprint = None
            try:
                decide = partial(self._decide_once, commands, footprint, tries, suspicious=suspicious)
                outcomes = await self.patiently(decide, len(commands)) if commands else BatchOutcomes([], [])
            except ClocksDifferError as doubt:
                deliveries = self._parking.park(deliveries, doubt.command_ids, str(doubt))
                commands, footprint = commands_of(deliveries), None
            except TooMuchError as too_much:
                at_once, footprint, cut = too_much.fitting(len(commands)), None, True
            else:
                held = {**aside, **outcomes.held}
                outcomes = outcomes.without(held)
                await self._hold(now, held)
                now = [without(delivery, held) for delivery in now] if held else now
                next_ones = len(commands) if cut else _expected_to_fit(outcomes)
                left = Batch(rest, commands_of(rest), batch.footprint, next_ones) if rest else None
                return DecidedBatch(now, await self._recover(now, outcomes), left)
        return DecidedBatch(deliveries, BatchOutcomes([], []))

    async def _hold(self, deliveries: Sequence[Delivery], held: Mapping[str, HeldCommand]) -> None:
        """Have the database hold commands, however long that takes; then their deliveries may be acknowledged."""
        if not held:
            return
        first = next(iter(held.values()))
        log.warning("commands held", action="hold_record", commands=len(held), why=first.why, on=sorted(first.records))
        await self.patiently(partial(self._held.add, held_messages(deliveries, held)), len(held))
        self._failpoint(Step.HELD)

    async def _decide_once(
        self, commands: Sequence[Command], footprint: Footprint | None, tries: Iterator[int], *, suspicious: bool
    ) -> BatchOutcomes:
        before = next(tries)
        with self._confirmations.carrying() as confirmed:
            if suspicious:
                outcomes = await self._decider.decide_suspects(commands, confirmed)
            else:
                outcomes = await self._decider.decide(commands, confirmed, footprint)
        # A try that failed may have committed: its COMMIT can be all that was not answered.
        return replace(outcomes, retried=True) if before else outcomes

    async def _recover(self, deliveries: list[Delivery], outcomes: BatchOutcomes) -> BatchOutcomes:
        """Add what else is to be published with commands that were decided before."""
        if all(outcome.unconfirmed is None for outcome in outcomes.outcomes):
            return outcomes
        redelivered = [command.id for command in commands_of(one for one in deliveries if one.redelivered)]
        return await self.patiently(partial(self._recovery.add_messages, outcomes, redelivered), len(outcomes.outcomes))

    async def patiently(self, ask: Callable[[], Awaitable[T]], held: int) -> T:
        """Ask the database until it can answer, however long that takes.

        Raises ClocksDifferError, except in order.

        The deliveries stay held meanwhile, no more than the prefetch, and the consumer stays registered. If a consumer
        were cancelled while it holds something and its node of the broker died then, nothing would deliver what it held
        before that node is back, and perhaps not then (docs/production.md, "What a broker forgets").
        """
        pauses = growing_pauses(self._retry_delay_max_s)
        with self._activity.asking() as asking:
            while True:
                try:
                    return await ask()
                except DatabaseTroubleError as trouble:
                    if isinstance(trouble, ClocksDifferError) and not self._in_order:
                        raise
                    pause_s = next(pauses)
                    log.warning("database trouble", action="hold", why=str(trouble), held=held, again_in_s=pause_s)
                    self._activity.metrics.held()
                    asking.met(str(trouble))
                with self._activity.progress.waiting(pause_s):
                    await asyncio.sleep(pause_s)
