"""How a program that has started servers ends: at any signal it takes everything back, as it does at Ctrl-C."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from genlock.servers_local import die_with_parent

T = TypeVar("T")

_UNWINDING = (signal.SIGTERM, signal.SIGHUP)

# The terminal that is gone was not the command's.
_TOLD_AS = {signal.SIGHUP: signal.SIGTERM}


def unwind_at_signals() -> None:
    """Have SIGTERM, and the end of the terminal, unwind this program as Ctrl-C does, so that nothing is left behind."""
    for number in _UNWINDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))


@contextmanager
def signals_passed_over() -> Iterator[None]:
    """Do not end by a signal for the time of the context: a second Ctrl-C must not interrupt what is taken back."""
    before: dict[signal.Signals, Any] = {}
    # No other thread may set handlers, and none is interrupted.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *_UNWINDING):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                # Not SIG_IGN, which programs that are started meanwhile would inherit.
                before[number] = signal.signal(number, lambda _number, _frame: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_to_end(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in an event loop, where SIGTERM and the end of the terminal cancel it as Ctrl-C does.

    Afterwards these signals unwind the program again, which asyncio does not see to.
    """
    received: list[signal.Signals] = []

    async def run() -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this runs in one

        def cancel(number: signal.Signals) -> None:
            # Only once: what is taken back after the first signal must not be interrupted by the next.
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
    """Start a command that gets the signals which this process gets from now on, and ends with it."""
    forwarding = _Forwarding()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, forwarding.send, _TOLD_AS.get(number, number))
    child = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **variables},
        # A session of its own, so that Ctrl-C reaches it once: through us, and not from the terminal as well.
        start_new_session=True,
        preexec_fn=partial(die_with_parent, signal.SIGTERM, os.getpid()),
    )
    forwarding.begin(child.pid)
    return child


class _Forwarding:
    """Passes signals on to a process group; those that come before there is one, as soon as there is."""

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
