"""The answer to a message that has an envelope, but no id under which a verdict could be kept.

It is no outcome: it goes to `reply_to` alone, is neither an event nor recorded, and comes again with each copy.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from genlock.schemas.base import Known, Shown, Uuid, example
from genlock.schemas.codes import Code
from genlock.schemas.faults import FieldError
from genlock.schemas.outcomes import CommandEcho

UNDECODABLE = "command.undecodable"


class UndecodableData(Shown):
    """What is wrong with the message. Nothing was changed, and the message is in the dead letters."""

    model_config = example(
        {
            "code": "invalid_data",
            "message": "The command has no id that can be used: no UUID as its id.",
            "errors": [{"code": "invalid_data", "path": "id", "pointer": "/id", "message": "This is no UUID."}],
            "command": {"type": "document.put", "subject": "server-7"},
        }
    )

    code: Known[Code]
    message: Annotated[str, Field(description="A sentence for a person.")]
    errors: list[FieldError]
    command: Annotated[CommandEcho, Field(description="The type and the subject, if they are valid.")]


class UndecodableAnswer(BaseModel):
    """The answer to a message that has an envelope, but no usable id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"]
    id: Annotated[Uuid, Field(description="The same for each copy of the message.")]
    source: Annotated[str, Field(description="`/<namespace>`")]
    type: Literal["command.undecodable"]
    subject: Annotated[str, Field(description="The command's, if it is valid.")] | None = None
    time: Annotated[str, Field(description="When the message was read, RFC 3339.")]
    correlationid: Annotated[str, Field(description="The command's, if it is valid.")] | None = None
    datacontenttype: Literal["application/json"] = "application/json"
    data: UndecodableData


def parse_undecodable(body: bytes | str) -> UndecodableAnswer | None:
    """Read an answer of this type; None for anything else."""
    try:
        return UndecodableAnswer.model_validate_json(body)
    except ValueError:
        return None
