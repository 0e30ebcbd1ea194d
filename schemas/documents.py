"""Documents: any JSON object, such as a server's metadata, guarded by a generation (0 when created)."""

from typing import Annotated

from pydantic import Field

from genlock.schemas.base import (
    CommandData,
    ExpectedGeneration,
    ExpectedOrNone,
    Generation,
    JsonObject,
    Shown,
    example,
)
from genlock.schemas.codes import Code

DocumentId = Annotated[str, Field(min_length=1, max_length=255)]


class DocumentPut(CommandData):
    """Create a document, or replace its whole body."""

    model_config = example({"expected_generation": 3, "body": {"owner": "team-a"}})

    expected_generation: ExpectedOrNone
    body: Annotated[JsonObject, Field(description="The document, at most 512 KiB of JSON.")]


class DocumentMerge(CommandData):
    """Apply a JSON Merge Patch ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)).

    Without `expected_generation` the patch commutes and is applied to whatever is current; null creates the
    document from the patch applied to `{}`. Left out and null differ.
    """

    model_config = example({"patch": {"owner": "team-a", "note": None}})
    rejections = (Code.NOT_FOUND,)

    expected_generation: ExpectedOrNone = None
    patch: Annotated[JsonObject, Field(description="The members to set; a null removes its member.")]


class DocumentDelete(CommandData):
    """Delete a document; its tombstone stays.

    The delete takes the next generation, and a document created again goes on from there.
    """

    model_config = example({"expected_generation": 3})

    expected_generation: ExpectedGeneration


class DocumentState(Shown):
    """A document as events and reads show it."""

    id: str
    generation: Annotated[Generation, Field(description="0 for the first body, and 1 more for each accepted command.")]
    body: JsonObject
