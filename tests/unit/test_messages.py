"""Further messages: those that could not be published are a fault of their rule."""

from dataclasses import replace
from typing import Any

import pytest

from genlock.service.ledger.events import EVENT_BYTES_MAX
from genlock.service.ledger.messages import DEFAULT_EXCHANGE, FalseMessageError, Message, check
from tests.support.notes import NOTES

KINDS = {NOTES.name: replace(NOTES, exchanges=frozenset({"notes", DEFAULT_EXCHANGE}))}

SOUND = Message(
    kind=NOTES.name,
    record=("document", "d"),
    exchange="notes",
    routing_key="k" * 255,
    id="i" * 255,
    type="t" * 255,
    body=b"b" * EVENT_BYTES_MAX,
    time="2026-01-01T00:00:00Z",
    subject="\N{GRINNING FACE}" * 255,
    correlation_id="c" * 255,
)


@pytest.mark.parametrize("changes", [{}, {"exchange": DEFAULT_EXCHANGE}, {"subject": None, "correlation_id": None}])
def test_sound_message_passes(changes: dict[str, Any]) -> None:
    check([replace(SOUND, **changes)], KINDS)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": "work"}, "no kind"),
        ({"exchange": "work"}, "exchange 'work'"),
        ({"type": "document.put"}, "type of a command"),
        ({"body": b"b" * (EVENT_BYTES_MAX + 1)}, "bytes"),
        ({"routing_key": "k" * 256}, "255 bytes"),
        ({"id": "\N{GRINNING FACE}" * 64}, "255 bytes"),
        ({"type": "t" * 256}, "255 bytes"),
        ({"correlation_id": "c" * 256}, "255 bytes"),
        ({"subject": "s" * 1021}, "subject"),
    ],
    ids=lambda case: "" if isinstance(case, str) else next(iter(case)),
)
def test_message_that_could_not_be_published_does_not_pass(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(FalseMessageError, match=why):
        check([SOUND, replace(SOUND, **changes)], KINDS)


def test_message_needs_a_time() -> None:
    with pytest.raises(ValueError, match="isoformat"):
        check([replace(SOUND, time="yesterday")], KINDS)


def test_nothing_passes_where_there_are_no_kinds() -> None:
    check([], {})
    with pytest.raises(FalseMessageError):
        check([SOUND], {})
