"""Pieces of Markdown as GitHub shows it."""

import inspect
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; bars in cells are escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: object) -> str:
    return f"`{text}`"


def codes(words: Iterable[object]) -> str:
    return ", ".join(map(code, words))


def json_block(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"


def anchor(heading: str) -> str:
    """The fragment that leads to a heading."""
    return "#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def link(heading: str, text: str | None = None) -> str:
    """A link to a heading of the same page."""
    return f"[{text or heading}]({anchor(heading)})"


def documentation(described: object) -> str:
    """The docstring as paragraphs, each on one line. Raises ValueError where there is none."""
    if not described.__doc__:
        raise ValueError(f"{described!r} has no docstring")
    return paragraphs(described.__doc__)


def paragraphs(text: str) -> str:
    """A text with each paragraph on one line."""
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in inspect.cleandoc(text).split("\n\n"))


def first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0]
