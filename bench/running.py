"""Servers around a measurement, with an orderly end in all cases."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from genlock import servers

T = TypeVar("T")

WIDTH = 120
"""The width of a table in columns, on a terminal and in a file."""


def with_servers(
    measure: Callable[[servers.Servers], Coroutine[Any, Any, T]], postgres_options: Sequence[str] = ()
) -> T:
    """Run a measurement with servers that are found or started for it. Raises SystemExit if that fails.

    A PostgreSQL that is started gets the options, such as `shared_buffers=1GB`.
    """
    # SIGTERM unwinds like Ctrl-C, so that servers and processes end with this process.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with servers.running(postgres_options) as running:
            return asyncio.run(measure(running))
    except servers.ServersUnavailable as error:
        say(str(error))
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        raise SystemExit(128 + signal.SIGINT) from error


def say(text: str) -> None:
    """Print the progress."""
    sys.stderr.write(f"{text}\n")


def positive(text: str) -> int:
    """Parse a positive number."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
