"""Isolation: a batch that has failed is decided without what makes it fail, as long as others can be decided at all.

What is locked is named at once. Otherwise the batch is halved, again and again, and its parts get little time, because
all of its commands wait for them. A command that fails alone is judged by experiment (blame.py): it is held with its
record, or ends as internal_error.
"""

import traceback
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

import structlog

from genlock.schemas.decode import Command
from genlock.service.database.transactions import BackendLostError, DatabaseTroubleError, LockedError, TooSlowError
from genlock.service.deciding.batch_outcomes import BatchOutcomes
from genlock.service.deciding.blame import LASTING_ERRORS, Blame, follow, hold
from genlock.service.deciding.kind import Kinds
from genlock.service.ledger.held import NotHeldError

ROUNDS = 2
"""How often a command fails alone, between experiments that succeed, before it ends as internal_error."""

SLOW_PART = 16
"""How many commands the parts have of a batch that has taken too long. Such parts are taken apart one by one."""

LOST_REMEMBERED = 10_000
"""How many commands are remembered whose backend has gone."""

log = structlog.get_logger()


class Attempt(Protocol):
    """Decides commands in one transaction, or raises what keeps that from being committed."""

    async def __call__(self, commands: Sequence[Command], *, quick: bool) -> BatchOutcomes: ...


class Isolation:
    """Finds out what a batch fails of. `attempt` decides a part of it, `reject` decides a command as internal_error."""

    def __init__(self, blame: Blame, kinds: Kinds, attempt: Attempt, reject: Attempt) -> None:
        self._blame = blame
        self._kinds = kinds
        self._attempt = attempt
        self._reject = reject
        self._lost: Counter[str] = Counter()
        """How often a backend has gone that was deciding a command, by its id."""

    async def check_works(self, commands: Sequence[Command], error: Exception) -> None:
        """Raise DatabaseTroubleError, because of this error, if nothing can be decided.

        Where these commands have ended a backend before, PostgreSQL may have crashed: it gets time to come back.
        """
        again = isinstance(error, BackendLostError) and self._note_lost(commands)
        works = self._blame.works_again if again else self._blame.anything_works
        if not await works(commands):
            raise error if isinstance(error, DatabaseTroubleError) else DatabaseTroubleError(str(error)) from error

    async def isolate(self, commands: Sequence[Command], error: Exception, *, patient: bool = False) -> BatchOutcomes:
        """Decide what can be decided of a batch that has failed with this error, while others can be decided.

        `patient` takes the time to find out what a lone command fails of. Raises DatabaseTroubleError and,
        as `Attempt` does, LASTING_ERRORS.
        """
        if isinstance(error, LockedError):
            locked = await self._blame.locked(commands)
            rest, held = follow(self._kinds, commands, locked, str(error))
            if held:
                return BatchOutcomes([], [], held=held) + await self._decide_part(rest)
        if len(commands) == 1:
            return await self._judge(commands[0], error, patient=patient)
        half = len(commands) // 2
        if self._lost_again(commands):
            size = 1  # Each crash of PostgreSQL ends all that is under way: it is not to be repeated for every half.
        elif isinstance(error, TooSlowError):
            size = SLOW_PART if half >= SLOW_PART else 1  # The others wait for each part that takes too long.
        else:
            size = len(commands) - half
        outcomes, left = BatchOutcomes([], []), commands
        while left:
            part, left = left[:size], left[size:]
            done = await self._decide_part(part)
            outcomes += done
            if done.held:
                blocked = frozenset[str]().union(*(one.records for one in done.held.values()))
                left, held = follow(self._kinds, left, blocked, "an earlier command is held")
                outcomes += BatchOutcomes([], [], held=held)
        return outcomes

    def _note_lost(self, commands: Sequence[Command]) -> bool:
        """Note that the backend that decided these commands has gone; tell whether that was so before."""
        if len(self._lost) > LOST_REMEMBERED:
            self._lost.clear()
        self._lost.update(command.id for command in commands)
        return self._lost_again(commands)

    def _lost_again(self, commands: Sequence[Command]) -> bool:
        return any(self._lost[command.id] > 1 for command in commands)

    async def _decide_part(self, commands: Sequence[Command]) -> BatchOutcomes:
        if not commands:
            return BatchOutcomes([], [])
        try:
            return await self._attempt(commands, quick=True)
        except LASTING_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 - what it follows is found by experiment
            await self.check_works(commands, error)
            return await self.isolate(commands, error)

    async def _judge(self, command: Command, error: Exception, *, patient: bool) -> BatchOutcomes:
        """Find out what a command fails of that has failed alone."""
        for _ in range(ROUNDS):
            if isinstance(error, LockedError) or (isinstance(error, TooSlowError) and not patient):
                return self._held(command, (), error)
            try:
                return await self._attempt([command], quick=not patient)
            except LASTING_ERRORS:
                raise
            except Exception as again:  # noqa: BLE001 - as before
                error = again
            if isinstance(error, BackendLostError):
                await self.check_works([command], error)
            records = await self._blame.records_at_fault(command, patient=patient)
            await self.check_works([command], error)
            if records is not None or isinstance(error, LockedError):
                return self._held(command, records or (), error)
        log.error("poison", action="poison", command_id=command.id, why=str(error), exception=_trace(error))
        return await self.reject(command)

    async def reject(self, command: Command) -> BatchOutcomes:
        """Decide a command as internal_error. It is held if that cannot be recorded: it is told nothing then."""
        try:
            return await self._reject([command], quick=False)
        except NotHeldError:
            raise
        except Exception as error:
            await self.check_works([command], error)
            log.exception("rejection not recorded", action="poison", command_id=command.id)
            return self._held(command, (), error)

    def _held(self, command: Command, records: Collection[str], error: Exception) -> BatchOutcomes:
        return BatchOutcomes([], [], held={command.id: hold(self._kinds, command, records, str(error))})


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
