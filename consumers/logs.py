"""Logs: one JSON line each on a server, readable on a terminal; every record has an `action`."""

import logging
import os
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

from genlock.service.environment import unknown_variables
from genlock.service.settings import Settings

SILENCED = ("aiormq", "aio_pika", "asyncpg")
"""They report, some at error level and with a traceback for each try, what the session and the pools notice, tell and
mend themselves (tests/e2e/test_process.py)."""


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
    renderer = structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Who asks a logger whether it is enabled for a level is told so by this class alone.
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer], foreign_pre_chain=shared
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
