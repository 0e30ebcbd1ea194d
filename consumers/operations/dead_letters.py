"""Dead dead letters: what one says of itself, and which of them an operator selects."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from pydantic import TypeAdapter, ValidationError

from genlock.consumers.commands.deliveries import REASON_HEADER, TIME_HEADER, Delivery
from genlock.schemas.envelope import Time

HASH_DIGITS = 12
"""Enough of a body's hash to tell 100,000 of them apart."""

HASH_PREFIX = "body-"

_TIME: TypeAdapter[datetime] = TypeAdapter(Time)


@dataclass(frozen=True, slots=True)
class Summary:
    """The part of a dead letter that is kept once its body is released."""

    handle: str
    """How an operator names it: its command's id, or a hash of the body if that has no readable id or several."""
    command_id: str | None
    type: str
    """That of its command, or the routing key that came with it."""
    subject: str
    source: str
    reason: str
    died: datetime | None
    size: int
    commands: int
    """How many it holds: several if it is a bulk message that the broker moved."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter, fetched and not yet removed."""

    delivery: Delivery
    body: bytes
    summary: Summary

    @property
    def names(self) -> frozenset[str]:
        """All that it can be found by: its handle, and the ids of its commands."""
        return frozenset({self.summary.handle, *(command.id for command in self.delivery.commands)})


def read_dead_letter(delivery: Delivery, body: bytes) -> DeadLetter:
    """Read what a dead letter says of itself."""
    reason, died = _death(delivery.properties.headers or {})
    commands = delivery.commands
    command = commands[0] if len(delivery.parts) == len(commands) == 1 else None
    digest = hashlib.sha256(body).hexdigest()[:HASH_DIGITS]
    summary = Summary(
        handle=command.id if command else f"{HASH_PREFIX}{digest}",
        command_id=command.id if command else None,
        type=(command.echo.type if command else None) or delivery.routing_key,
        subject=command.subject if command else "",
        source=command.source if command else "",
        reason=reason,
        # Of a dead letter from elsewhere only the time of its publishing is known.
        died=died or _aware(delivery.properties.timestamp),
        size=len(body),
        commands=len(commands),
    )
    return DeadLetter(delivery, body, summary)


def _death(headers: dict[str, Any]) -> tuple[str, datetime | None]:
    """Why and when it died: by the broker's word or by ours, whichever is the later."""
    deaths = [_moved(headers.get("x-death"))]
    if REASON_HEADER in headers:
        deaths.append((str(headers[REASON_HEADER]), _time(headers.get(TIME_HEADER))))
    known = [death for death in deaths if death[1] is not None]
    return max(known, key=_when) if known else deaths[-1]


def _when(death: tuple[str, datetime | None]) -> datetime:
    return death[1] or datetime.min.replace(tzinfo=UTC)


def _moved(deaths: Any) -> tuple[str, datetime | None]:
    """What the broker says of the last time that it moved the message; the newest comes first."""
    match deaths:
        case [{"reason": reason, **others}, *_]:
            return str(reason), _aware(others.get("time"))
        case _:
            return "", None


def _time(text: Any) -> datetime | None:
    try:
        return _TIME.validate_python(text)
    except ValidationError:
        return None


def _aware(moment: Any) -> datetime | None:
    if not isinstance(moment, datetime):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant: those that meet all that is asked. Nothing asked means all."""

    handles: frozenset[str] = frozenset()
    reason: str | None = None
    """The beginning of it, or a pattern with * and ?."""
    type: str | None = None
    """A pattern with * and ?."""
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, dead_letter: DeadLetter) -> bool:
        """Tell whether a dead letter is meant. One whose time is not known is in no span of time."""
        told = dead_letter.summary
        return (
            (not self.handles or not self.handles.isdisjoint(dead_letter.names))
            and (self.reason is None or told.reason.startswith(self.reason) or fnmatchcase(told.reason, self.reason))
            and (self.type is None or fnmatchcase(told.type, self.type))
            and (self.since is None or (told.died is not None and told.died >= self.since))
            and (self.until is None or (told.died is not None and told.died < self.until))
        )

    @property
    def is_everything(self) -> bool:
        return self == Selection()
