"""The journal: what publishers and subscribers know, which is all that the oracle holds the service against."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from genlock.schemas.outcomes import outcome_id
from tests.faults.messages import OutgoingMessage
from tests.support.factories import Json


@dataclass
class Seen:
    """An event as a subscriber has seen it. `digest` stands for its bytes."""

    command_id: str
    digest: bytes
    id_reused: bool
    times: int = 0


@dataclass
class Journal:
    """What the broker has confirmed to publishers, and what subscribers have seen."""

    confirmed: Counter[OutgoingMessage] = field(default_factory=Counter)
    """How often the broker has confirmed each message since the last check."""
    fresh: set[OutgoingMessage] = field(default_factory=set)
    """The messages sent for the first time since the last check; the others are copies of earlier ones."""
    given_up: set[OutgoingMessage] = field(default_factory=set)
    """Messages that were sent, neither confirmed nor sent again: their fate is unknown."""
    events: dict[str, Seen] = field(default_factory=dict)
    """By event id, over all checks."""
    replies: set[tuple[str, str]] = field(default_factory=set)
    """The command id that each reply was correlated with, and the event id in it."""
    oddities: list[str] = field(default_factory=list)
    """What a subscriber can tell to be wrong by itself."""
    total: Counter[str] = field(default_factory=Counter)
    """Figures for the summary, over all checks."""

    def was_confirmed(self, outgoing: OutgoingMessage) -> None:
        """Note that the broker has taken a message."""
        self.confirmed[outgoing] += 1
        self.total["confirmed"] += 1

    def was_seen(self, body: bytes, *, again: bool) -> Json:
        """Note an event; `again` if the broker says that it has delivered the same message before."""
        event: Json = json.loads(body)
        digest = hashlib.sha256(body).digest()
        reused = event["data"].get("code") == "id_reused"
        seen = self.events.setdefault(event["id"], Seen(event["causationid"], digest, reused))
        seen.times += not again
        self.total["duplicate events"] += seen.times > 1 and not again
        # The answer to an id that is used again is built anew each time.
        if seen.digest != digest and not reused:
            self.oddities.append(f"event {event['id']} came with other bytes: {body.decode()}")
        return event

    def was_answered(self, correlation_id: Any, body: bytes) -> None:
        """Note a reply."""
        self.replies.add((str(correlation_id), json.loads(body)["id"]))

    def has_outcome(self, outgoing: OutgoingMessage) -> bool:
        """Tell whether a command's outcome was seen."""
        return outcome_id(outgoing.id) in self.events

    def turn_page(self) -> None:
        """Forget the checked messages, save the events."""
        self.confirmed.clear()
        self.fresh.clear()
        self.given_up.clear()
        self.replies.clear()
