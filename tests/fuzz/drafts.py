"""Messages as they are drawn: without an identity, which each gets when it is sent."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.bodies import DATA, NEW_SUBJECT, QUERY_DATA, broken, envelopes, jsons, mutated, valid, written
from tests.fuzz.properties import headers, properties, short_texts
from tests.fuzz.wire import Message, long, short, table
from tests.support.factories import Json, new_id

NOBODYS_ID = "feedface-feed-4ace-8eed-feedfacefeed"
"""Stands for the command's id, and in capitals for the same in capitals."""

CARRIERS = ("message_id", "app_id", "correlation_id", "headers")
"""Where a message may carry its mark."""

MARK_HEADER = b"x-mark"


def id_in(body: bytes) -> str | None:
    """The id of a command, by other means than the service's: as the text of the last member of that name."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = members.get("id") if isinstance(members, dict) else None
    return found.lower() if isinstance(found, str) else None


BULK = "application/cloudevents-batch+json"
BULK_COMMANDS_MAX = 1_000
BULK_BYTES_MAX = 1024 * 1024

GLUES = (
    (b"[", b",", b"]"),
    (b" [\n", b" ,\r\n", b"\t] "),
    (b"[", b",,", b"]"),
    (b"{", b",", b"}"),
    (b"[", b",", b"]]"),
)
"""The texts around and between the commands of a bulk message. The first two make an array."""


@dataclass(frozen=True)
class Part:
    """A command of a message, or what should be one, and the id that it was given."""

    body: bytes
    given_id: str

    @property
    def answer_id(self) -> str:
        """The id that its outcome would tell; a broken text may say another one than it was given."""
        return id_in(self.body) or self.given_id


@dataclass(frozen=True)
class Sent:
    """A message with its identity. Each of its parts ends by itself, if it has any; else it ends as a whole."""

    message: Message
    parts: tuple[Part, ...]

    @property
    def ends(self) -> int:
        return len(self.parts) or 1


@dataclass(frozen=True)
class Draft:
    """A message that can be sent. `again` tells which of the commands before it has its id, if it is not a new one."""

    texts: tuple[bytes, ...]
    routing_key: bytes
    properties: dict[str, bytes]
    headers: list[tuple[bytes, bytes]]
    carrier: str
    again: int | None
    glue: int | None = None
    """Which of GLUES holds a bulk message together."""

    def sent(self, ids: Sequence[str], mark: str) -> Sent:
        """The message with its identity: an id for each command, and a mark that its dead letters will have too."""
        parts = tuple(Part(_named(text, given), given) for text, given in zip(self.texts, ids, strict=True))
        wire, fields = dict(self.properties), list(self.headers)
        if "expiration" in wire:
            # RabbitMQ 3.10 adds its own to this one, and where it cannot, its dead letters stand still.
            fields = [(name, value) for name, value in fields if name != b"x-death"]
        if self.glue is None:
            body, ends = parts[0].body, parts
        else:
            first, between, last = GLUES[self.glue]
            body = first + between.join(part.body for part in parts) + last
            ends = parts if _is_bulk(self.glue, body, parts) else ()
            wire["content_type"] = short(BULK.encode())
        if self.carrier == "headers":
            fields.append((MARK_HEADER, b"S" + long(mark.encode())))
        else:
            wire[self.carrier] = short(mark.encode())
        if fields:
            wire["headers"] = table(fields)
        return Sent(Message(body, self.routing_key, wire), ends)


def _named(text: bytes, command_id: str) -> bytes:
    text = text.replace(NOBODYS_ID.encode(), command_id.encode())
    text = text.replace(NOBODYS_ID.upper().encode(), command_id.upper().encode())
    return text.replace(NEW_SUBJECT.encode(), new_id().encode())


def _is_bulk(glue: int, body: bytes, parts: Sequence[Part]) -> bool:
    """Tell by other means than the service's whether each part ends by itself."""
    first, between, last = GLUES[glue]
    array = first.strip() == b"[" and last.strip() == b"]" and (between.strip() == b"," or len(parts) == 1)
    if not array or not 0 < len(parts) <= BULK_COMMANDS_MAX or len(body) > BULK_BYTES_MAX:
        return False
    for part in parts:
        try:
            json.loads(part.body.decode(), parse_int=str)
        except RecursionError:
            continue  # The brackets of such deep nesting are all closed.
        except ValueError:
            return False
    return True


@st.composite
def _members(draw: st.DrawFn, data: dict[str, st.SearchStrategy[Json]]) -> Any:
    """The content of the body before it is written."""
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
    draw: st.DrawFn,
    data: dict[str, st.SearchStrategy[Json]],
    wire: dict[str, st.SearchStrategy[bytes]],
    *,
    bulk: bool = False,
) -> Draft:
    if bulk and draw(st.sampled_from((*(False,) * 8, True))):
        return draw(_bulk(data, wire))
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
        texts=(body,),
        routing_key=draw(st.sampled_from(sorted(DATA)).map(str.encode) | short_texts if odds == 9 else keys),
        properties={name: draw(wire[name]) for name in sorted(some)},
        headers=draw(headers) if odds in (6, 7, 8) else [],
        carrier=draw(st.sampled_from(CARRIERS)),
        again=draw(st.integers(0, 10**6)) if odds == 5 else None,
    )


@st.composite
def _bulk(
    draw: st.DrawFn, data: dict[str, st.SearchStrategy[Json]], wire: dict[str, st.SearchStrategy[bytes]]
) -> Draft:
    """Many commands in one message, mostly of one type. It has no expiration, because it would expire as a whole."""
    command_type = draw(st.sampled_from(sorted(data)))
    members = draw(st.lists(_members({command_type: data[command_type]}), max_size=5))
    texts = tuple(written(each, escaped=draw(st.booleans())) for each in members)
    some = draw(st.sets(st.sampled_from(("reply_to", "reply_to", "correlation_id", "timestamp"))))
    return Draft(
        texts=texts * draw(st.sampled_from((*(1,) * 30, 60, 400))),
        routing_key=command_type.encode(),
        properties={name: draw(wire[name]) for name in sorted(some)},
        headers=[],
        carrier=draw(st.sampled_from(CARRIERS)),
        again=draw(st.integers(0, 10**6)) if draw(st.sampled_from((*(False,) * 5, True))) else None,
        glue=draw(st.sampled_from((0, 0, 0, 0, 1, 1, 2, 3, 4))),
    )


def commands(replies: str, namespace: str) -> st.SearchStrategy[Draft]:
    """Messages for the exchange of commands."""
    return drafts(DATA, properties(replies, namespace), bulk=True)


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
