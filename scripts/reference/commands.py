"""The page of commands."""

from genlock.schemas.base import ANY_COMMAND, JsonObject
from genlock.schemas.catalogue import COMMANDS, SUBJECTS, CommandType
from genlock.schemas.envelope import Envelope
from genlock.service.kinds.registry import KINDS
from scripts.reference.markdown import code, codes, documentation, first_sentence, json_block, link, paragraphs, table
from scripts.reference.models import example_of, fields, objects, shape

SUBJECT_EXAMPLES = {"UUID": "a1d5f0c2-7c37-4e0c-9d3b-2f8e6b4a1c05"}
"""By the shape of a subject; any other takes a name."""

INTRODUCTION = """
A command is published to the exchange `genlock.commands` with its type as the routing key. Its outcome is one of three
[events](outcomes.md). [The wire contract](../contract.md) tells the rest: [bulk](../contract.md#bulk),
[idempotency](../contract.md#idempotency), the order of [checks](../contract.md#checks).
"""

TOKENS = """
`expected_generation` and `expected_traversal` are required wherever they are listed, so that no author skips the check
by leaving a field out. *Or omit* marks the changes that commute.
"""


def page() -> str:
    commands = list(COMMANDS.values())
    first = next(command for command in commands if command.name == "document.put")
    return "\n\n".join(
        [
            "# Commands",
            paragraphs(INTRODUCTION),
            json_block(envelope_of(first)),
            table(["type", "expects", "does"], map(_summary, commands)),
            paragraphs(TOKENS),
            f"## The envelope\n\n{fields(Envelope)}",
            f"Any command may be rejected with {codes(ANY_COMMAND)} ([codes](codes.md)).",
            *map(_section, commands),
            "## Objects",
            objects([command.model for command in commands]),
        ]
    )


def envelope_of(command: CommandType) -> JsonObject:
    """A whole command with the example of its data."""
    subject = None if command.multi_record else SUBJECT_EXAMPLES.get(_subject(command), "server-7")
    return {
        "specversion": "1.0",
        "id": "0192f0c1-7b1e-7c3a-9d55-0242ac120002",
        "source": "/inventory-agent",
        "type": command.name,
        **({} if subject is None else {"subject": subject}),
        "data": example_of(command.model),
    }


def _subject(command: CommandType) -> str:
    return shape(SUBJECTS[command.kind].json_schema(), {})


def _summary(command: CommandType) -> list[str]:
    expected = [name for name in command.model.model_fields if name.startswith("expected_")]
    omittable = KINDS.rules[command.name].guard.omittable
    told = [code(name) + (", *or omit*" if name in omittable else "") for name in expected]
    does = first_sentence(documentation(command.model))
    return [link(command.name, code(command.name)), ", ".join(told), does]


def _section(command: CommandType) -> str:
    about = "none: the data name the records" if command.multi_record else f"the id of the record: {_subject(command)}"
    parts = [
        f"## {command.name}",
        documentation(command.model),
        f"Subject: {about}.",
        fields(command.model),
        *_commuting(command),
        *([f"Rejected with {codes(command.model.rejections)}."] if command.model.rejections else []),
        json_block(example_of(command.model)),
    ]
    return "\n\n".join(parts)


def _commuting(command: CommandType) -> list[str]:
    omittable = KINDS.rules[command.name].guard.omittable
    return [f"Without {codes(omittable)} the change commutes."] if omittable else []
