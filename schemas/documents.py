"""Documents: any JSON object, such as a server's metadata, guarded by a generation (0 when created)."""

from typing import Annotated

from pydantic import Field

from genlock.schemas.base import CommandData, Generation, JsonObject, Shown

DocumentId = Annotated[str, Field(min_length=1, max_length=255)]


class DocumentPut(CommandData):
    """Replace the whole body. `expected_generation` null creates the document."""

    expected_generation: Generation | None
    body: JsonObject


class DocumentMerge(CommandData):
    """Apply a JSON Merge Patch (RFC 7396).

    Without `expected_generation` the patch commutes and is applied to whatever is current; null creates the
    document from the patch applied to `{}`. Left out and null differ: ask `model_fields_set`.
    """

    expected_generation: Generation | None = None
    patch: JsonObject


class DocumentDelete(CommandData):
    """Leave a tombstone. The delete takes the next generation, which is remembered."""

    expected_generation: Generation


class DocumentState(Shown):
    """A document as events and reads show it."""

    id: str
    generation: Generation
    body: JsonObject
