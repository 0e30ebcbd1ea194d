"""The workloads: commands in the queue, and their records."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from pamqp.commands import Basic

from bench.messages import PERSISTENT, Message
from genlock.commands import command
from genlock.schemas.base import CommandData, Kind, compact_json
from genlock.schemas.documents import DocumentMerge, DocumentPut
from genlock.schemas.outcomes import BULK_CONTENT_TYPE, CONTENT_TYPE
from genlock.schemas.providers import Inventory, ProviderSetInventories

SOURCE = "/bench"
HOT = "server-hot"

FIRST = 1
"""The generation of every record before the first command, so that conflicts can expect an older one."""

FIELDS = 16
"""The number of members of a document, fixed so that the hot document does not grow."""

BULK_SIZE = 250
"""The number of commands in a message of the bulk workload, 127 kB; the contract allows 1,000 and 1 MiB."""

CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB")
"""The resource classes of every provider."""


@dataclass(frozen=True, slots=True)
class Preload:
    """Messages to publish, and the records of a kind that must exist before, at the generation FIRST.

    `accepted` of the `commands` will succeed, and the others will conflict.
    """

    messages: Sequence[Message]
    kind: Kind
    records: Sequence[str]
    commands: int
    accepted: int

    @property
    def command_bytes(self) -> int:
        """The mean size of a command's JSON."""
        return sum(len(message.body) for message in self.messages) // self.commands

    @property
    def commands_per_message(self) -> int:
        """The number of commands in a message."""
        return self.commands // len(self.messages)


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload. `make` takes the number of commands."""

    name: str
    make: Callable[[int], Preload]


def document_body() -> str:
    """The initial body of every document: about 250 bytes of JSON."""
    return compact_json({f"field-{number:02}": "v" * 4 for number in range(FIELDS)})


def document_id(number: int) -> str:
    """The id of a document."""
    return f"server-{number:06}"


def put(subject: str, expected_generation: int) -> Message:
    """Replace a document, expecting a generation."""
    body = {f"field-{number:02}": "w" * 4 for number in range(FIELDS)}
    return message_of(DocumentPut(expected_generation=expected_generation, body=body), subject)


def message_of(change: CommandData, subject: str) -> Message:
    """The message of a command with a new id."""
    members = {**command(change, subject=subject).members(), "source": SOURCE}
    properties = Basic.Properties(
        content_type=CONTENT_TYPE,
        headers={"subject": subject},
        delivery_mode=PERSISTENT,
        message_id=members["id"],
        message_type=members["type"],
        app_id=SOURCE,
    )
    return Message(members["type"], compact_json(members).encode(), properties)


def _puts(count: int, conflicts: float = 0.0) -> Preload:
    """Replace one document each; a share of the commands expects an older generation."""
    subjects = [document_id(number) for number in range(count)]
    late = set(Random(1).sample(range(count), round(count * conflicts)))
    messages = [put(subject, FIRST - (number in late)) for number, subject in enumerate(subjects)]
    return Preload(messages, "document", subjects, count, count - len(late))


def _bulk(count: int) -> Preload:
    """The same commands, many in a message. Their number is rounded down to full messages."""
    single = _puts(max(count - count % BULK_SIZE, BULK_SIZE))
    bodies = [message.body for message in single.messages]
    starts = range(0, len(bodies), BULK_SIZE)
    parts = [b",".join(bodies[start : start + BULK_SIZE]) for start in starts]
    properties = Basic.Properties(content_type=BULK_CONTENT_TYPE, delivery_mode=PERSISTENT, app_id=SOURCE)
    messages = [Message("document.put", b"[" + part + b"]", properties) for part in parts]
    return replace(single, messages=messages)


def _merges(count: int) -> Preload:
    """Change one field of one document each, by a merge patch that commutes and expects no generation."""
    subjects = [document_id(number) for number in range(count)]
    messages = [message_of(_patch(number), subject) for number, subject in enumerate(subjects)]
    return Preload(messages, "document", subjects, count, count)


def _hot_merges(count: int) -> Preload:
    """The same merges, all on one document."""
    return Preload([message_of(_patch(number), HOT) for number in range(count)], "document", [HOT], count, count)


def _patch(number: int) -> DocumentMerge:
    return DocumentMerge(patch={f"field-{number % FIELDS:02}": f"{number % 10_000:04}"})


def _inventories(count: int) -> Preload:
    """Replace the inventories of one provider each, expecting its generation."""
    providers = [str(uuid.UUID(int=Random(number).getrandbits(128), version=4)) for number in range(count)]
    change = ProviderSetInventories(
        expected_generation=FIRST, inventories={name: Inventory(total=2_048) for name in CLASSES}
    )
    return Preload([message_of(change, provider) for provider in providers], "provider", providers, count, count)


EACH = Workload("a record each", _puts)
BULK = Workload(f"{BULK_SIZE} commands in a message", _bulk)
SOME_CONFLICTS = Workload("20 % conflicts", lambda count: _puts(count, conflicts=0.2))
MANY_CONFLICTS = Workload("80 % conflicts", lambda count: _puts(count, conflicts=0.8))
MERGES = Workload("merges, a record each", _merges)
HOT_MERGES = Workload("merges, one hot record", _hot_merges)
INVENTORIES = Workload("inventories", _inventories)
