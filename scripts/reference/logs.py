"""The page of log lines."""

from collections.abc import Sequence

from genlock.service.log_actions import ACTIONS, FIELDS
from scripts.reference.log_calls import Call, calls
from scripts.reference.markdown import code, codes, paragraphs, table

SEVERITIES = ("error", "warning", "info", "debug")

INTRODUCTION = """
The service logs one JSON object a line on stderr (`GENLOCK_LOG_FORMAT`), with `timestamp`, `level`, `event` and
`action`. Programs filter by `action`; lines of one action may have several events. What a terminal would obey, such as
ESC in the name of a queue, is escaped in names, values and tracebacks, in lines of text too.
"""


def page() -> str:
    logged = calls()
    return "\n\n".join(
        [
            "# Log lines",
            paragraphs(INTRODUCTION),
            *(_section(action, [call for call in logged if call.action == action]) for action in ACTIONS),
            "## Fields",
            table(["field", "means"], ([code(name), means] for name, means in sorted(FIELDS.items()))),
        ]
    )


def _section(action: str, lines: Sequence[Call]) -> str:
    rows = {(call.level, call.event or "(a sentence)", codes(call.all_fields)) for call in lines}
    # Wherever in the source they stand.
    ordered = sorted(rows, key=lambda row: (SEVERITIES.index(row[0]), row))
    return "\n\n".join(
        [f"## {action}", ACTIONS[action], *([table(["level", "event", "fields"], ordered)] if rows else [])]
    )
