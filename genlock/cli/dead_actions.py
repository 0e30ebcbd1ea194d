"""The actions of `genlock dead`."""

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from time import monotonic

import typer

from genlock.cli.connections import broker, database, identity_of
from genlock.cli.dead_output import print_dead_letter, print_retried, print_summaries
from genlock.cli.failure import NO_ANSWER, USAGE, Failure
from genlock.cli.output import wants_json
from genlock.cli.terminal import plain, say
from genlock.consumers.amqp.declare import declare_identity
from genlock.consumers.amqp.session import Session
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.operations.dead_letter_queue import DeadLetterQueue, DeadLettersInUseError, opened
from genlock.consumers.operations.dead_letter_retry import REMAINS, Result, Retrier, UnroutableError
from genlock.consumers.operations.dead_letters import DeadLetter, Selection, Summary
from genlock.consumers.process import logs
from genlock.service.settings import Settings

REPORT_EVERY_S = 5.0

SHOWN_BEFORE_DROP = 20
"""How many dead letters are shown before the question whether to drop them."""

REASONS_COUNTED = 5
"""How many reasons a summary names. The reasons for invalid JSON all differ."""


class Search:
    """Finds the dead letters of a selection, and notes given ids that no dead letter has."""

    def __init__(self, queue: DeadLetterQueue, selection: Selection, limit: int | None = None) -> None:
        self._queue = queue
        self._selection = selection
        self._limit = limit
        self._missing = set(selection.handles)
        self._found = 0

    async def run(self) -> AsyncIterator[DeadLetter]:
        """Yield the selected dead letters up to the limit. Reports progress on stderr every few seconds."""
        total = await self._queue.count()
        read, report_at = 0, monotonic() + REPORT_EVERY_S
        async for dead_letter in self._queue.read():
            read += 1
            if self._selection.takes(dead_letter):
                self._found += 1
                self._missing -= dead_letter.names
                yield dead_letter
                if self._found == self._limit:
                    return
            if monotonic() >= report_at:
                report_at = monotonic() + REPORT_EVERY_S
                say(f"{read:,} of {total:,} dead letters read, {self._found:,} found", err=True)

    def require(self) -> None:
        """Raise Failure for ids that no dead letter has, unless the limit ended the search early."""
        if self._missing and self._found != self._limit:
            raise Failure("\n".join(f"There is no dead letter {plain(handle)}." for handle in sorted(self._missing)))


async def list_dead_letters(settings: Settings, selection: Selection, limit: int | None, *, as_json: bool) -> None:
    async with _reading(settings) as (_, queue):
        search = Search(queue, selection, limit)
        found = [dead_letter.summary async for dead_letter in search.run()]
    # Only now, so that a pager does not hold the dead letters meanwhile.
    print_summaries(found, as_json=wants_json(as_json=as_json))
    if not wants_json(as_json=as_json):
        say(f"{_amount('dead letter', len(found))}.")
    search.require()


async def show(settings: Settings, selection: Selection, *, as_json: bool) -> None:
    async with _reading(settings) as (_, queue):
        search = Search(queue, selection)
        async for dead_letter in search.run():
            await _print(print_dead_letter, dead_letter, as_json=wants_json(as_json=as_json))
    search.require()


async def retry(settings: Settings, selection: Selection, limit: int | None, *, dry_run: bool, as_json: bool) -> None:
    counts: Counter[Result] = Counter()
    async with (
        database(settings, settings.decide_timeout_s) as pool,
        _reading(settings, await identity_of(settings)) as (session, queue),
    ):
        retrier = await Retrier.on(session, pool, settings)
        search = Search(queue, selection, limit)
        try:
            async for dead_letter in search.run():
                results = await (retrier.dry_run(dead_letter) if dry_run else retrier.retry(queue, dead_letter))
                counts.update(retried.result for retried in results)
                await _print(print_retried, dead_letter.summary, results, as_json=wants_json(as_json=as_json))
            await queue.settle()
        except UnroutableError as error:
            raise Failure(str(error)) from error
        finally:
            # Also after a fault: earlier retries stand.
            say(_counted("command", counts.total(), counts.most_common()), err=True)
    search.require()
    if REMAINS & counts.keys():
        raise typer.Exit(NO_ANSWER)


async def drop(settings: Settings, selection: Selection, limit: int | None, *, yes: bool, as_json: bool) -> None:
    if not yes and not sys.stdin.isatty():
        raise Failure("Not a terminal: pass --yes to confirm.", USAGE)
    async with _reading(settings) as (_, queue):
        search = Search(queue, selection, limit)
        found = [(dead_letter.delivery.tag, dead_letter.summary) async for dead_letter in search.run()]
        summaries = [summary for _, summary in found]
        if found and not yes and not await _confirmed(summaries):
            raise Failure("Nothing was dropped.")
        for tag, _ in found:
            await queue.remove(tag)
        await queue.settle()
    if wants_json(as_json=as_json):
        print_summaries(summaries, as_json=True)
    reasons = Counter(summary.reason or "no reason" for summary in summaries).most_common(REASONS_COUNTED)
    say(f"Dropped {_counted('dead letter', len(found), reasons)}", err=True)
    search.require()


async def _confirmed(summaries: list[Summary]) -> bool:
    """Show the dead letters to drop, and ask. They are held meanwhile, so that no others are dropped."""
    print_summaries(summaries[:SHOWN_BEFORE_DROP], as_json=False)
    if len(summaries) > SHOWN_BEFORE_DROP:
        say(f"… and {len(summaries) - SHOWN_BEFORE_DROP:,} more")
    say(f"Drop {_amount('dead letter', len(summaries))} for good? [y/N] ", nl=False, err=True)
    loop = asyncio.get_running_loop()
    answered = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), answered.set)
    try:
        await answered.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline().strip().lower() in ("y", "yes")


async def _print(show: Callable[..., None], *arguments: object, as_json: bool) -> None:
    """Print in a thread: a pager may block for long, and heartbeats must go on. Raises Failure."""
    try:
        await asyncio.to_thread(show, *arguments, as_json=as_json)
    except BrokenPipeError as error:
        raise Failure("The output was closed by its reader.") from error


@contextlib.asynccontextmanager
async def _reading(settings: Settings, identity: str | None = None) -> AsyncIterator[tuple[Session, DeadLetterQueue]]:
    """Read the dead letters as their only reader. Raises Failure, also for another database than the service's."""
    logs.configure(settings)
    try:
        # Looking into a namespace must not create it.
        async with broker(settings, declare=False) as session, opened(session, settings) as queue:
            if identity is not None:
                await queue.count()
                await declare_identity(Topology.of(settings, identity=identity), await session.channel(essential=False))
            yield session, queue
    except DeadLettersInUseError as error:
        raise Failure(str(error)) from error


def _counted(noun: str, total: int, parts: Iterable[tuple[str, int]]) -> str:
    """A summary such as `3 commands: 2 retried, 1 already decided.`"""
    listed = ", ".join(f"{count:,} {plain(name)}" for name, count in parts)
    return f"{_amount(noun, total)}: {listed}." if listed else f"{_amount(noun, total)}."


def _amount(noun: str, count: int) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
