"""Messages as they are drawn: without an identity, which each gets when it is sent."""

import json
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.factories import Json, new_id
from tests.fuzz.bodies import DATA, NEW_SUBJECT, QUERY_DATA, broken, envelopes, jsons, mutated, valid, written
from tests.fuzz.properties import headers, properties, short_texts
from tests.fuzz.wire import Message, long, short, table

NOBODYS_ID = "feedface-feed-4ace-8eed-feedfacefeed"
"""Stands for the command's id, and in capitals for the same in capitals."""

CARRIERS = ("message_id", "app_id", "correlation_id", "headers")
"""Where a message may carry its mark."""

MARK_HEADER = b"x-mark"


@dataclass(frozen=True)
class Draft:
    """A message that can be sent. `again` tells which of the commands before it has its id, if it is not a new one."""

    body: bytes
    routing_key: bytes
    properties: dict[str, bytes]
    headers: list[tuple[bytes, bytes]]
    carrier: str
    again: int | None

    def message(self, command_id: str, mark: str) -> Message:
        """The message with its identity: the command's id, and a mark that its dead letter will have too."""
        body = self.body.replace(NOBODYS_ID.encode(), command_id.encode())
        body = body.replace(NOBODYS_ID.upper().encode(), command_id.upper().encode())
        body = body.replace(NEW_SUBJECT.encode(), new_id().encode())
        wire, fields = dict(self.properties), list(self.headers)
        if self.carrier == "headers":
            fields.append((MARK_HEADER, b"S" + long(mark.encode())))
        else:
            wire[self.carrier] = short(mark.encode())
        if fields:
            wire["headers"] = table(fields)
        return Message(body, self.routing_key, wire)


@st.composite
def _members(draw: st.DrawFn, data: dict[str, st.SearchStrategy[Json]]) -> Any:
    """What stands in the body before it is written."""
    command_id = draw(st.sampled_from((NOBODYS_ID, NOBODYS_ID, NOBODYS_ID.upper())))
    how = draw(st.sampled_from(("valid", "valid", "valid", *("mutated",) * 5, "envelope", "envelope", "json")))
    match how:
        case "json":
            return draw(jsons)
        case "envelope":
            return draw(envelopes(command_id))
        case "valid":
            return draw(valid(data, command_id))
        case _:
            return draw(mutated(draw(valid(data, command_id))))


def _key_of(members: Any) -> bytes:
    """The routing key that a client would use."""
    command_type = members.get("type") if isinstance(members, dict) else None
    return str(command_type).encode(errors="replace")[:255]


@st.composite
def drafts(
    draw: st.DrawFn, data: dict[str, st.SearchStrategy[Json]], wire: dict[str, st.SearchStrategy[bytes]]
) -> Draft:
    members = draw(_members(data))
    body = written(members, escaped=draw(st.booleans()))
    odds = draw(st.sampled_from(range(12)))
    if odds == 11:
        body = draw(st.binary(max_size=60))
    elif odds == 10:
        body = draw(broken(body))
    keys = st.just(_key_of(members))
    some = draw(st.sets(st.sampled_from(sorted(wire)), max_size=4)) if draw(st.booleans()) else ("reply_to",)
    return Draft(
        body=body,
        routing_key=draw(st.sampled_from(sorted(DATA)).map(str.encode) | short_texts if odds == 9 else keys),
        properties={name: draw(wire[name]) for name in sorted(some)},
        headers=draw(headers) if odds in (6, 7, 8) else [],
        carrier=draw(st.sampled_from(CARRIERS)),
        again=draw(st.integers(0, 10**6)) if odds == 5 else None,
    )


def commands(replies: str, namespace: str) -> st.SearchStrategy[Draft]:
    """Messages for the exchange of commands."""
    return drafts(DATA, properties(replies, namespace))


def queries(replies: str, namespace: str) -> st.SearchStrategy[Draft]:
    """Messages for the queue of queries, where one that expires is gone without a trace, as its author wished."""
    wire = properties(replies, namespace)
    del wire["expiration"]
    return drafts(QUERY_DATA, wire)


def drawn(strategy: st.SearchStrategy[Draft], count: int, seed: int | None) -> list[Draft]:
    """Draw so many; always the same ones without a seed."""
    result: list[Draft] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=seed is None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(draft: Draft) -> None:
        result.append(draft)

    (draw if seed is None else hypothesis.seed(seed)(draw))()
    return result


def id_in(body: bytes) -> str | None:
    """The id of a command, by other means than the service's: as the text of the last member of that name."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = members.get("id") if isinstance(members, dict) else None
    return found.lower() if isinstance(found, str) else None
