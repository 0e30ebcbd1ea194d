"""What `genlock dead` does with the queue, the ledger and the terminal."""

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from time import monotonic

import typer

from genlock.cli.connections import broker, database
from genlock.cli.dead_output import print_letter, print_retried, print_summaries
from genlock.cli.failure import NO_ANSWER, USAGE, Failure
from genlock.cli.output import plain, wants_json
from genlock.consumers import logs
from genlock.consumers.dead_letters import BeingReadError, DeadLetters, opened
from genlock.consumers.letters import Letter, Selection, Summary
from genlock.consumers.retry import REMAINS, Result, Retrier, UnroutableError
from genlock.consumers.session import Session
from genlock.service.settings import Settings

REPORT_EVERY_S = 5.0

SHOWN_BEFORE_DROP = 20
"""How many of the letters that would be dropped are shown to whoever is asked."""

REASONS_COUNTED = 5
"""How many reasons a summary names; those of what is no JSON are as many as there are letters."""


class Search:
    """Finds the letters of a selection, and notes the ids that were given and that no letter has."""

    def __init__(self, letters: DeadLetters, selection: Selection, limit: int | None = None) -> None:
        self._letters = letters
        self._selection = selection
        self._limit = limit
        self._missing = set(selection.handles)
        self._found = 0

    async def run(self) -> AsyncIterator[Letter]:
        """The letters that are meant, up to the limit. Says on stderr every few seconds how far it has come."""
        total = await self._letters.count()
        read, report_at = 0, monotonic() + REPORT_EVERY_S
        async for letter in self._letters.read():
            read += 1
            if self._selection.takes(letter):
                self._found += 1
                self._missing -= letter.names
                yield letter
                if self._found == self._limit:
                    return
            if monotonic() >= report_at:
                report_at = monotonic() + REPORT_EVERY_S
                typer.echo(f"{read:,} of {total:,} dead letters read, {self._found:,} found", err=True)

    def require(self) -> None:
        """Raise Failure for ids that no letter has, unless the limit came before the end of the queue."""
        if self._missing and self._found != self._limit:
            raise Failure("\n".join(f"There is no dead letter {plain(handle)}." for handle in sorted(self._missing)))


async def list_letters(settings: Settings, selection: Selection, limit: int | None, *, as_json: bool) -> None:
    async with _reading(settings) as (_, letters):
        search = Search(letters, selection, limit)
        found = [letter.summary async for letter in search.run()]
    # Only now: whoever reads them page by page must not hold the letters meanwhile.
    print_summaries(found, as_json=wants_json(as_json=as_json))
    if not wants_json(as_json=as_json):
        typer.echo(f"{_amount('dead letter', len(found))}.")
    search.require()


async def show(settings: Settings, selection: Selection, *, as_json: bool) -> None:
    async with _reading(settings) as (_, letters):
        search = Search(letters, selection)
        async for letter in search.run():
            await _print(print_letter, letter, as_json=wants_json(as_json=as_json))
    search.require()


async def retry(settings: Settings, selection: Selection, limit: int | None, *, dry_run: bool, as_json: bool) -> None:
    counts: Counter[Result] = Counter()
    async with (
        database(settings, settings.decide_timeout_s) as pool,
        _reading(settings) as (session, letters),
    ):
        retrier = await Retrier.on(session, pool, settings)
        search = Search(letters, selection, limit)
        try:
            async for letter in search.run():
                results = await (retrier.dry_run(letter) if dry_run else retrier.retry(letters, letter))
                counts.update(retried.result for retried in results)
                await _print(print_retried, letter.summary, results, as_json=wants_json(as_json=as_json))
            await letters.settle()
        except UnroutableError as error:
            raise Failure(str(error)) from error
        finally:
            # Also after a fault: what was retried until then is retried.
            typer.echo(_counted("command", counts.total(), counts.most_common()), err=True)
    search.require()
    if REMAINS & counts.keys():
        raise typer.Exit(NO_ANSWER)


async def drop(settings: Settings, selection: Selection, limit: int | None, *, yes: bool, as_json: bool) -> None:
    if not yes and not sys.stdin.isatty():
        raise Failure("There is nobody to ask whether to drop them: say --yes.", USAGE)
    async with _reading(settings) as (_, letters):
        search = Search(letters, selection, limit)
        found = [(letter.delivery.tag, letter.summary) async for letter in search.run()]
        summaries = [summary for _, summary in found]
        if found and not yes and not await _confirmed(summaries):
            raise Failure("Nothing was dropped.")
        for tag, _ in found:
            await letters.remove(tag)
        await letters.settle()
    if wants_json(as_json=as_json):
        print_summaries(summaries, as_json=True)
    reasons = Counter(summary.reason or "no reason" for summary in summaries).most_common(REASONS_COUNTED)
    typer.echo(f"Dropped {_counted('dead letter', len(found), reasons)}", err=True)
    search.require()


async def _confirmed(summaries: list[Summary]) -> bool:
    """Show what would be dropped, and ask. The letters are held meanwhile, so that no others are dropped."""
    print_summaries(summaries[:SHOWN_BEFORE_DROP], as_json=False)
    if len(summaries) > SHOWN_BEFORE_DROP:
        typer.echo(f"… and {len(summaries) - SHOWN_BEFORE_DROP:,} more")
    typer.echo(f"Drop {_amount('dead letter', len(summaries))} for good? [y/N] ", nl=False, err=True)
    loop = asyncio.get_running_loop()
    answered = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), answered.set)
    try:
        await answered.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline().strip().lower() in ("y", "yes")


async def _print(show: Callable[..., None], *arguments: object, as_json: bool) -> None:
    """Print in a thread: a pager may take its time, and the broker wants a sign of life. Raises Failure."""
    try:
        await asyncio.to_thread(show, *arguments, as_json=as_json)
    except BrokenPipeError as error:
        raise Failure("Nobody reads what this prints any more.") from error


@contextlib.asynccontextmanager
async def _reading(settings: Settings) -> AsyncIterator[tuple[Session, DeadLetters]]:
    """Be the one reader of the dead letters. Raises Failure."""
    logs.configure(settings)
    try:
        # Whoever looks into a namespace that is not there does not want to have made it.
        async with broker(settings, declare=False) as session, opened(session, settings) as letters:
            yield session, letters
    except BeingReadError as error:
        raise Failure(str(error)) from error


def _counted(noun: str, total: int, parts: Iterable[tuple[str, int]]) -> str:
    """Such as `3 commands: 2 retried, 1 already decided.`"""
    listed = ", ".join(f"{count:,} {plain(name)}" for name, count in parts)
    return f"{_amount(noun, total)}: {listed}." if listed else f"{_amount(noun, total)}."


def _amount(noun: str, count: int) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
