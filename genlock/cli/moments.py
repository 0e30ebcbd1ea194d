"""Parsing of times: a time, or a duration before now."""

import re
from datetime import UTC, datetime, timedelta

import typer
from pydantic import TypeAdapter, ValidationError

from genlock.schemas.envelope import Time

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_TIME: TypeAdapter[datetime] = TypeAdapter(Time)


def moment(text: str | datetime) -> datetime:
    """Parse a time as in RFC 3339, or a duration before now such as 90m or 1d12h. Raises BadParameter."""
    if isinstance(text, datetime):
        return text
    try:
        if _AGO.fullmatch(text):
            return datetime.now(UTC) - sum(
                (timedelta(**{_UNITS[unit]: float(number)}) for number, unit in _PART.findall(text)), timedelta()
            )
        return _TIME.validate_python(text)
    except (ValidationError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is neither a time such as 2026-01-31T12:00:00Z nor a duration such as 90m, 2h or 1d12h."
        ) from error


def check_span(since: datetime | None, until: datetime | None) -> None:
    """Raise BadParameter for an empty time span."""
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter("--since has to be before --until.")
