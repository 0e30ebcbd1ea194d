"""The names of exchanges and queues, the same on every replica. declare.py declares them.

With one lane there is one inbox. With n lanes a command takes this way: `commands`, a topic exchange, hands it on to
`router`, a direct exchange that knows the types of the commands on several records. All others are unknown to it and
go to its alternate exchange, `ring`, which spreads them over the lanes by their subject. The name of the ring has n in
it, and the broker refuses to declare the router again with another alternate exchange: that is how n is fixed.
"""

from collections.abc import Collection
from dataclasses import dataclass

from genlock.service.ledger.messages import DEFAULT_EXCHANGE
from genlock.service.settings import Settings

TAKEN = frozenset({"commands", "reads", "dead", "lanes", "database"})
"""What begins the names of the exchanges that no further message may go to. Among the events it may."""


@dataclass(frozen=True, slots=True)
class CommandQueue:
    """A queue that commands wait in. One that is `in_order` has a single active consumer at a time."""

    name: str
    in_order: bool


@dataclass(frozen=True, slots=True)
class Topology:
    """The names of one namespace on the broker.

    `exchanges` are those of further messages, without the namespace; the default exchange may be among them. Raises
    ValueError for one that commands, queries or dead letters go through.
    """

    namespace: str
    lanes: int = 1
    exchanges: frozenset[str] = frozenset()
    identity: str | None = None
    """The identity of the database; None where it does not matter."""

    def __post_init__(self) -> None:
        for name in self.exchanges:
            if name in TAKEN or "." in name:
                raise ValueError(f"further messages cannot go to the exchange {name!r}, which has another purpose")

    @classmethod
    def of(cls, settings: Settings, exchanges: Collection[str] = (), identity: str | None = None) -> "Topology":
        """The names that a replica with these settings knows, whose further messages go to these exchanges."""
        return cls(settings.namespace, settings.lanes, frozenset(exchanges), identity)

    @property
    def commands(self) -> str:
        return f"{self.namespace}.commands"

    @property
    def inbox(self) -> str:
        return f"{self.namespace}.inbox"

    @property
    def events(self) -> str:
        return f"{self.namespace}.events"

    def exchange(self, name: str) -> str:
        """The exchange that a further message names."""
        return name if name == DEFAULT_EXCHANGE else f"{self.namespace}.{name}"

    @property
    def message_exchanges(self) -> list[str]:
        """The exchanges for further messages that have to be declared."""
        return [self.exchange(name) for name in sorted(self.exchanges - {DEFAULT_EXCHANGE})]

    @property
    def reads(self) -> str:
        """The exchange for queries. A client that may use the default exchange instead could write to any queue."""
        return f"{self.namespace}.reads"

    @property
    def queries(self) -> str:
        return f"{self.namespace}.queries"

    @property
    def dead(self) -> str:
        return f"{self.namespace}.dead"

    @property
    def dead_letters(self) -> str:
        return f"{self.namespace}.dead_letters"

    @property
    def dead_letters_reader(self) -> str:
        """An exclusive queue of the reader of the dead letters, so that there is one at a time."""
        return f"{self.namespace}.dead_letters.reader"

    @property
    def database(self) -> str:
        """An exchange that nothing goes through, which fixes the database as the router fixes the number of lanes.

        Its alternate exchange, which is not there, has the database's identity in its name.
        """
        return f"{self.namespace}.database"

    @property
    def router(self) -> str:
        return f"{self.namespace}.lanes"

    @property
    def changing(self) -> str:
        """An exchange that is bound while the number of lanes is being changed."""
        return f"{self.namespace}.lanes.changing"

    @property
    def ring(self) -> str:
        return f"{self.namespace}.lanes.of.{self.lanes}"

    @property
    def lane_queues(self) -> list[str]:
        """The queues that the ring spreads commands over; none where there is one inbox."""
        lanes = self.lanes if self.lanes > 1 else 0
        return [f"{self.namespace}.lane.{number}.of.{lanes}" for number in range(1, lanes + 1)]

    @property
    def multi_record(self) -> str:
        """The lane of the commands on several records."""
        return f"{self.namespace}.lane.several"

    @property
    def command_queues(self) -> list[CommandQueue]:
        """All queues that commands may wait in. With lanes the inbox has commands left by a change of their number."""
        inbox = CommandQueue(self.inbox, in_order=False)
        if self.lanes == 1:
            return [inbox]
        return [*(CommandQueue(name, in_order=True) for name in (*self.lane_queues, self.multi_record)), inbox]

    def owns(self, queue: str) -> bool:
        """Tell whether a queue's name lies in the namespace, so that no reply may go there."""
        return queue == self.namespace or queue.startswith(f"{self.namespace}.")
