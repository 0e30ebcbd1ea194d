"""The commands that wait in the queue, and the documents that they meet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pamqp.commands import Basic

from genlock.commands import command
from genlock.consumers.publisher import PERSISTENT, Outgoing
from genlock.schemas.base import CommandData, compact_json
from genlock.schemas.documents import DocumentMerge, DocumentPut
from genlock.schemas.outcomes import CONTENT_TYPE

SOURCE = "/bench"
HOT = "server-hot"

FIELDS = 16
"""How many members a document has, so that the hot one does not grow."""


@dataclass(frozen=True, slots=True)
class Preload:
    """Commands as they are published, each of which will be accepted, and the documents that must exist before."""

    commands: Sequence[Outgoing]
    documents: Sequence[str]

    @property
    def command_bytes(self) -> int:
        """The mean size of a command's body."""
        return sum(len(outgoing.body) for outgoing in self.commands) // len(self.commands)


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of load. `make` takes the number of commands."""

    name: str
    make: Callable[[int], Preload]


def document_body() -> str:
    """What every document holds at first, at generation 0: about 250 bytes of JSON."""
    return compact_json({f"field-{number:02}": "v" * 4 for number in range(FIELDS)})


def _many(count: int) -> Preload:
    """Replace documents, each its own, with the generation that the author saw."""
    subjects = [f"server-{number:06}" for number in range(count)]
    body = {f"field-{number:02}": "w" * 4 for number in range(FIELDS)}
    change = DocumentPut(expected_generation=0, body=body)
    return Preload([_outgoing(change, subject) for subject in subjects], subjects)


def _hot(count: int) -> Preload:
    """Change one field of one document, again and again: a merge patch that commutes and expects no generation."""
    changes = [DocumentMerge(patch={f"field-{number % FIELDS:02}": f"{number:04}"}) for number in range(count)]
    return Preload([_outgoing(change, HOT) for change in changes], [HOT])


def _outgoing(change: CommandData, subject: str) -> Outgoing:
    members = {**command(change, subject=subject).members(), "source": SOURCE}
    properties = Basic.Properties(
        content_type=CONTENT_TYPE,
        headers={"subject": subject},
        delivery_mode=PERSISTENT,
        message_id=members["id"],
        message_type=members["type"],
        app_id=SOURCE,
    )
    return Outgoing("", members["type"], compact_json(members).encode(), properties.marshal())


WORKLOADS = (Workload("one record each", _many), Workload("one hot record", _hot))
