"""A document: any JSON object, guarded by a generation."""

from typing import ClassVar

from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.outcomes import GenerationToken
from genlock.schemas.values import value
from genlock.service.deciding.json_text import JsonText
from genlock.service.deciding.record import Maker


@value
class Document:
    kind: ClassVar[Kind] = "document"

    id: str
    generation: int
    sequence: int
    maker: Maker
    body: JsonText | None
    """None is a tombstone."""

    @property
    def deleted(self) -> bool:
        return self.body is None

    @property
    def token(self) -> GenerationToken:
        return GenerationToken(generation=self.generation)

    @property
    def name(self) -> None:
        return None

    @property
    def size(self) -> int:
        return len(self.body.text) if self.body else 0

    def state(self) -> JsonObject:
        """The document with its body, an empty one for a tombstone."""
        # DocumentState says what it is; made without it, which would take longer than all the rest of the rule.
        return {"id": self.id, "generation": self.generation, "body": self.body.value if self.body else {}}

    def summary(self) -> JsonObject:
        return self.state()
