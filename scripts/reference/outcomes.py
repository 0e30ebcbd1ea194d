"""The page of outcome events."""

import json

from pydantic import BaseModel

from genlock.schemas.base import JsonObject
from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.codes import VerdictName
from genlock.schemas.decode import Command, decode
from genlock.schemas.outcomes import (
    UNKNOWN_COMMAND,
    ConflictData,
    OutcomeEvent,
    RejectedData,
    SucceededData,
)
from genlock.schemas.undecodable import UNDECODABLE, UndecodableAnswer, UndecodableData
from genlock.service.ledger.events import build
from scripts.reference.commands import envelope_of
from scripts.reference.markdown import code, documentation, json_block, paragraphs, table
from scripts.reference.models import example_of, fields, objects

DATA: dict[VerdictName, type[SucceededData | ConflictData | RejectedData]] = {
    VerdictName.SUCCEEDED: SucceededData,
    VerdictName.CONFLICT: ConflictData,
    VerdictName.REJECTED: RejectedData,
}
EXAMPLES = {
    VerdictName.SUCCEEDED: "document.put",
    VerdictName.CONFLICT: "document.put",
    VerdictName.REJECTED: "consumer.set_allocations",
}
"""The commands whose outcomes the models have as their examples."""

DECIDED_AT = "2026-01-31T12:00:00.250000Z"

INTRODUCTION = """
Each command has exactly one outcome: an event at the exchange `genlock.events`, with its type as the routing key, and a
copy at the queue in `reply_to` if there is one. The event may come more than once, with the same id and the same bytes.
"""

TYPES = f"""
The type is `<command>.<verdict>`, such as `document.put.succeeded`. It is `{UNKNOWN_COMMAND}.rejected` where the type
of the command is not in the catalogue.
"""

NO_OUTCOME = """
The answer to a message that has an envelope, but no id under which a verdict could be kept: no UUID, or two. It goes to
`reply_to` alone, beside the dead letter. It is no event and is not recorded: each copy of the message is answered anew.
"""


def page() -> str:
    models: list[type[BaseModel]] = list(DATA.values())
    return "\n\n".join(
        [
            "# Outcomes",
            paragraphs(INTRODUCTION),
            table(["verdict", "means", "what to do"], ([code(word), word.means, word.remedy] for word in VerdictName)),
            paragraphs(TYPES),
            f"## The envelope\n\n{fields(OutcomeEvent)}",
            *map(_section, VerdictName),
            f"## No outcome: `{UNDECODABLE}`",
            paragraphs(NO_OUTCOME),
            fields(UndecodableAnswer),
            json_block(example_of(UndecodableData)),
            "## Objects",
            objects([*models, UndecodableAnswer]),
        ]
    )


def example_event(verdict: VerdictName) -> JsonObject:
    """An event as the service writes it."""
    command = decode(json.dumps(envelope_of(COMMANDS[EXAMPLES[verdict]])).encode(), EXAMPLES[verdict])
    if not isinstance(command, Command):
        raise TypeError(f"the example of {EXAMPLES[verdict]} cannot be decoded: {command.reason}")
    data = DATA[verdict].model_validate_json(json.dumps(example_of(DATA[verdict])))
    event: JsonObject = json.loads(build(command, data, "/genlock", DECIDED_AT).body)
    return event


def _section(verdict: VerdictName) -> str:
    model = DATA[verdict]
    return "\n\n".join(
        [
            f"## {verdict}",
            f"The `data` of an event whose type ends in `.{verdict}`. {documentation(model)}",
            fields(model),
            json_block(example_event(verdict)),
        ]
    )
