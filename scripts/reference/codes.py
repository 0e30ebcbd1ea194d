"""The page of the words that programs compare."""

from collections.abc import Iterable

from genlock.schemas.base import ANY_COMMAND
from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.codes import Code, Reason
from genlock.schemas.queries import ANY_QUERY, QUERIES
from scripts.reference.markdown import anchor, code, paragraphs, table

INTRODUCTION = """
Programs compare these words; the sentences beside them in events are for people. A word never changes its meaning, and
new ones may be added.
"""


def page() -> str:
    return "\n\n".join(
        [
            "# Codes",
            paragraphs(INTRODUCTION),
            "## Conflict reasons",
            "In the `reason` of a [conflict](outcomes.md#conflict).",
            table(["reason", "means", "what to do"], ([code(word), word.means, word.remedy] for word in Reason)),
            "## Rejection codes",
            "In the `code` of a [rejection](outcomes.md#rejected).",
            table(["code", "means", "what to do", "of"], (_rejection(word) for word in Code)),
            "## Errors of queries",
            "In the `error` of a [query](queries.md)'s result.",
            table(["code", "means", "of"], (_error(word) for word in Code if word.of_query)),
        ]
    )


def _rejection(word: Code) -> list[str]:
    having = [name for name, command in COMMANDS.items() if word in command.model.rejections]
    return [code(word), word.means, word.remedy, _of(having, "commands.md", every=word in ANY_COMMAND)]


def _error(word: Code) -> list[str]:
    having = [name for name, filters in QUERIES.items() if word in filters.errors]
    return [code(word), word.of_query, _of(having, "queries.md", every=word in ANY_QUERY)]


def _of(names: Iterable[str], target: str, *, every: bool) -> str:
    if every:
        return "any"
    return ", ".join(f"[`{name}`]({target}{anchor(name)})" for name in names) or "an unknown type"
