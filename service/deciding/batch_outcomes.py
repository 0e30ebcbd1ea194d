"""What a batch comes to: an outcome for each command that was decided, and why the others are held."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

from genlock.schemas.decode import Command
from genlock.schemas.values import value
from genlock.service.ledger.events import Event
from genlock.service.ledger.messages import StoredMessage


@value
class CommandOutcome:
    """What a command is answered: its outcome event, and the further messages to publish with it."""

    command: Command
    event: Event
    messages: Sequence[StoredMessage] = ()
    unconfirmed: int | None = None
    """The batch that decided it before, if the broker has not confirmed that."""


@dataclass(frozen=True, slots=True)
class HeldCommand:
    """Why a command was not decided, though others are: a record that it needs is in trouble."""

    records: frozenset[str]
    """What later commands have to wait for: the keys of its own records, and of those in trouble."""
    why: str


@dataclass(frozen=True, slots=True)
class BatchOutcomes:
    """An outcome for each command of a batch that was decided, in their order, and the ledger's batches with them.

    `faulty` are the ids of the commands that ended as internal_error just now; their messages belong in the dead
    letters too.
    """

    outcomes: list[CommandOutcome]
    batch_ids: list[int]
    faulty: frozenset[str] = frozenset()
    retried: bool = False
    """Whether an earlier try may have committed some of it, so that these outcomes have not been published."""
    held: Mapping[str, HeldCommand] = field(default_factory=dict)
    """The commands that were not decided, by id: each has to wait, in its record's order."""

    @property
    def events(self) -> list[Event]:
        """The outcome events, in the order of the commands."""
        return [outcome.event for outcome in self.outcomes]

    def without(self, held: Container[str]) -> "BatchOutcomes":
        """Leave out the outcomes of commands with these ids: another copy of each is held, and all of them wait for it.

        The sweep publishes the events of a batch that is not confirmed, so that they do not depend on the held copy.
        """
        kept = [outcome for outcome in self.outcomes if outcome.command.id not in held]
        return self if len(kept) == len(self.outcomes) else replace(self, outcomes=kept, batch_ids=[])

    def __add__(self, other: "BatchOutcomes") -> "BatchOutcomes":
        return BatchOutcomes(
            self.outcomes + other.outcomes,
            self.batch_ids + other.batch_ids,
            self.faulty | other.faulty,
            self.retried or other.retried,
            {**self.held, **other.held},
        )
