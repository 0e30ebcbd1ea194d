"""The page of queries."""

from pydantic import BaseModel

from genlock.schemas.answers import ANSWERS, AnswerModel, ErrorData
from genlock.schemas.outcomes import OutcomeEvent
from genlock.schemas.queries import ANY_QUERY, QUERIES, QUERY_SUBJECTS
from scripts.reference.markdown import code, codes, documentation, first_sentence, json_block, link, paragraphs, table
from scripts.reference.models import example_of, fields, objects, shape

INTRODUCTION = """
A query is published to the exchange `genlock.reads` in the same envelope as a [command](commands.md#the-envelope), with
its type as the routing key. The result comes to the queue in `reply_to`. `genlock query TYPE SUBJECT` asks one from a
shell, `client.query(TYPE, SUBJECT)` from Python. [The wire contract](../contract.md#queries) tells the rest.
"""


def page() -> str:
    models: list[type[BaseModel]] = list(
        dict.fromkeys(answer.record for answer in ANSWERS.values() if answer.record is not OutcomeEvent)
    )
    return "\n\n".join(
        [
            "# Queries",
            paragraphs(INTRODUCTION),
            table(["type", "answers with"], ([link(name, code(name)), _summary(name)] for name in QUERIES)),
            f"The error of any query may be {codes(ANY_QUERY)} ([codes](codes.md#errors-of-queries)).",
            f"{documentation(ErrorData)}\n\n{fields(ErrorData)}",
            *map(_section, QUERIES),
            "## Records",
            *(f"### {model.__name__}\n\n{documentation(model)}\n\n{fields(model)}" for model in models),
            objects([*models, ErrorData]),
        ]
    )


def _summary(name: str) -> str:
    answer = ANSWERS[name]
    if not answer.paged:
        return f"one {_record(answer)}"
    return f"{_record(answer)} by page. {first_sentence(documentation(QUERIES[name]))}"


def _record(answer: AnswerModel) -> str:
    if answer.record is OutcomeEvent:
        return "[outcome event](outcomes.md)"
    return link(answer.record.__name__)


def _section(name: str) -> str:
    filters, answer = QUERIES[name], ANSWERS[name]
    subject = shape(QUERY_SUBJECTS[name].json_schema(), {}) if name in QUERY_SUBJECTS else "none"
    shown = f"`records` (each {_record(answer)}), `next`" if answer.paged else f"`record` ({_record(answer)})"
    parts = [
        f"## {name}",
        documentation(filters),
        f"Subject: {subject}.",
        fields(filters),
        f"Answers with {', '.join([shown, *map(code, answer.beside)])}.",
        *([f"Errors: {codes(filters.errors)}."] if filters.errors else []),
    ]
    if "examples" in filters.model_json_schema():
        parts.append(json_block(example_of(filters)))
    return "\n\n".join(parts)
