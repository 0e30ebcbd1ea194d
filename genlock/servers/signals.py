"""Signal handling of programs that start servers: each signal unwinds the program like Ctrl-C, with clean-up."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from genlock.servers.local import die_with_parent

T = TypeVar("T")

_UNWINDING = (signal.SIGTERM, signal.SIGHUP)

# The command does not have the terminal that was closed.
_PASSED_ON_AS = {signal.SIGHUP: signal.SIGTERM}


def unwind_at_signals() -> None:
    """Make SIGTERM and SIGHUP unwind this program as Ctrl-C does, so that it cleans up."""
    for number in _UNWINDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))


@contextmanager
def signals_passed_over() -> Iterator[None]:
    """Ignore signals while the context lasts: a second Ctrl-C must not interrupt the clean-up."""
    before: dict[signal.Signals, Any] = {}
    # Only the main thread can set handlers, and only it is interrupted.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *_UNWINDING):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                # Not SIG_IGN, which child processes would inherit.
                before[number] = signal.signal(number, lambda _number, _frame: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_to_end(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in an event loop, in which SIGTERM and SIGHUP cancel it as Ctrl-C does.

    Afterwards these signals unwind the program again; asyncio does not restore that.
    """
    received: list[signal.Signals] = []

    async def run() -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this runs in one

        def cancel(number: signal.Signals) -> None:
            # Only once: the next signal must not interrupt the clean-up after the first.
            if not received:
                received.append(number)
                task.cancel()

        for number in _UNWINDING:
            if signal.getsignal(number) != signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, cancel, number)
        return await main

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        sys.exit(128 + received[0] if received else 1)
    finally:
        unwind_at_signals()


async def start(command: Sequence[str], variables: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start a command that gets all signals of this process from now on, and ends with it."""
    forwarding = _Forwarding()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, forwarding.send, _PASSED_ON_AS.get(number, number))
    child = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **variables},
        # In a session of its own, Ctrl-C reaches the command once: through this process, not from the terminal as well.
        start_new_session=True,
        preexec_fn=partial(die_with_parent, signal.SIGTERM, os.getpid()),
    )
    forwarding.begin(child.pid)
    return child


class _Forwarding:
    """Passes signals on to a process group. Signals before its start are passed on at its start."""

    def __init__(self) -> None:
        self._group: int | None = None
        self._early: list[signal.Signals] = []

    def begin(self, group: int) -> None:
        self._group = group
        for number in self._early:
            self.send(number)

    def send(self, number: signal.Signals) -> None:
        if self._group is None:
            self._early.append(number)
            return
        with suppress(ProcessLookupError):
            os.killpg(self._group, number)
