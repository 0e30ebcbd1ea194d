"""Logs: one JSON line each on a server, readable on a terminal; every record has an `action`."""

import logging
import os
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from genlock.schemas.printable import escaped, escaped_json
from genlock.service.environment import unknown_variables
from genlock.service.settings import Settings

SILENCED = ("aiormq", "aio_pika", "asyncpg")
"""They report, some at error level and with a traceback for each try, what the session and the pools notice, tell and
mend themselves (tests/e2e/test_serve.py)."""


def configure(settings: Settings) -> None:
    """Send this program's logs and its libraries' to stderr in one form."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _library_action,
    ]
    rendering = [_printable, structlog.dev.ConsoleRenderer()] if text else [_json]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Only this class of loggers tells whether it is enabled for a level.
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for library in SILENCED:
        logging.getLogger(library).setLevel(logging.CRITICAL)


def warn_of_unknown_variables() -> None:
    """Tell which variables of the environment look like settings and are none."""
    for warning in unknown_variables(os.environ):
        structlog.get_logger().warning(warning, action="settings")


def _library_action(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.setdefault("action", "library")
    return event


_render_json = structlog.processors.JSONRenderer(ensure_ascii=False)


def _json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """The line as JSON. What a terminal would obey is escaped: it may be read there too."""
    return escaped_json(str(_render_json(logger, method, event)))


def _printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what a terminal would obey, in names, values and tracebacks: much in them comes from messages."""
    return {escaped(str(name)): _shown(value) for name, value in event.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    return value if value is None or isinstance(value, bool | int | float) else _Printed(value)


class _Printed:
    """A value whose representation is printable, whatever its class makes of it."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        return escaped(repr(self._value))
