"""Texts for a terminal: characters that it would obey, such as ESC and those of C1, are escaped."""

import re

_CONTROL = re.compile(r"[^\x20-\x7e\n\r\t]")


def escaped(text: str) -> str:
    r"""The text with what is not printable escaped as Python does, such as `\x1b`; line breaks stay."""
    if text.isprintable():
        return text
    return "".join(
        character if character == "\n" or character.isprintable() else _escape(character) for character in text
    )


def escaped_json(text: str) -> str:
    """A JSON text that says the same, with what is not printable escaped as JSON does; white space stays.

    Within a JSON text such characters can only stand in strings.
    """
    if text.isprintable():
        return text
    return _CONTROL.sub(_json_escape, text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def _json_escape(found: "re.Match[str]") -> str:
    character = found[0]
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
