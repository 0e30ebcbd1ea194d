"""JSON objects of records: parsed only if a rule looks inside, and written to text only once."""

import json

from genlock.schemas.base import DOCUMENT_BYTES_MAX, JsonObject, clean_json

CHARACTER_BYTES_MAX = 4


class JsonText:
    """A JSON object as a value, as compact text, or as both."""

    __slots__ = ("_text", "_value")

    def __init__(self, value: JsonObject | None = None, *, text: str | None = None) -> None:
        """Take the value or the text, whichever is there."""
        self._value = value
        self._text = text

    @property
    def value(self) -> JsonObject:
        """The object. It is shared: a caller must not change it."""
        if self._value is None:
            value: JsonObject = json.loads(self._text or "{}")
            self._value = value
        return self._value

    @property
    def text(self) -> str:
        """The object as compact JSON."""
        if self._text is None:
            self._text = clean_json(self._value)
        return self._text

    @property
    def too_large(self) -> bool:
        """Tell whether it is past DOCUMENT_BYTES_MAX."""
        # Most texts are so short that their bytes need not be counted.
        short = len(self.text) * CHARACTER_BYTES_MAX <= DOCUMENT_BYTES_MAX
        return not short and len(self.text.encode()) > DOCUMENT_BYTES_MAX

    def __eq__(self, other: object) -> bool:
        return self.value == (other.value if isinstance(other, JsonText) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"JsonText({self.text})"
