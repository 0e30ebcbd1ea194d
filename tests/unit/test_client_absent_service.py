"""Looking for a service: only in silence, less and less often where one is there, and never wrong by one look."""

import asyncio
from typing import Any, cast

import pytest

from genlock._client import absence
from genlock._client.absence import AbsenceWatch, ServiceAbsent, Waiting

QUEUE = "genlock.inbox"
Counts = list[tuple[int | None, int | None]]


class Looking(AbsenceWatch):
    """Counts what it was told to, the last again and again, and notes the moments; its clock runs with its pauses."""

    def __init__(self, counts: Counts, *, absence_s: float = 3.0, reopened: bool = False) -> None:
        self.waiting: dict[str, Waiting] = {}
        self.now = 0.0
        self.looks: list[float] = []
        self.counts = counts
        super().__init__(cast("Any", None), self.waiting, absence_s, reopened=reopened)
        self._time = lambda: self.now
        self._begins = absence.RECONNECTING_S if reopened else 0.0

    async def _count(self, queue: str) -> tuple[int | None, int | None]:
        assert queue == QUEUE
        self.looks.append(self.now)
        return self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]


async def told(watch: Looking, monkeypatch: pytest.MonkeyPatch, until_s: float) -> float | None:
    """When it says that there is no service; None if it does not by then."""
    waiting = Waiting(QUEUE, asyncio.get_running_loop().create_future(), taken_at=0.0)
    watch.waiting["1"] = waiting

    async def pass_by(seconds: float) -> None:
        watch.now += seconds
        if watch.now > until_s or waiting.answer.done():
            watch.waiting.clear()

    monkeypatch.setattr("asyncio.sleep", pass_by)
    watch.need()
    running = asyncio.ensure_future(watch.run())
    while watch.waiting:
        await asyncio.wait({running}, timeout=0)
    running.cancel()
    await asyncio.wait({running})
    assert not waiting.answer.done() or waiting.answer.result() == ServiceAbsent(QUEUE)
    return watch.looks[-1] if waiting.answer.done() else None


async def test_no_consumer_for_long_enough_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Looking([(1, 0)])
    assert await told(watch, monkeypatch, 60) == pytest.approx(3.5, abs=0.5)
    assert len(watch.looks) > 2


async def test_an_empty_queue_is_doubted_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of a quorum queue that has lost its leader."""
    at = await told(Looking([(0, 0)]), monkeypatch, 60)
    assert at == pytest.approx(6.5, abs=0.5)


async def test_after_a_reconnection_services_have_time_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    at = await told(Looking([(1, 0)], reopened=True), monkeypatch, 60)
    assert at is not None
    assert at > absence.RECONNECTING_S


async def test_a_consumer_that_is_seen_in_between_begins_the_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counts = [(1, 0), (1, 0), (1, 0), (1, 1), (1, 0)]
    at = await told(Looking(counts), monkeypatch, 60)
    assert at is not None
    assert at > 5


@pytest.mark.parametrize("count", [(1, 1), (None, None)])
async def test_a_service_that_is_slow_or_a_count_that_is_not_known_is_looked_for_less_and_less(
    monkeypatch: pytest.MonkeyPatch, count: tuple[int | None, int | None]
) -> None:
    watch = Looking([count])
    assert await told(watch, monkeypatch, 60) is None
    assert len(watch.looks) < 12


async def test_queue_is_not_looked_at_while_answers_come() -> None:
    watch = Looking([(1, 0)])
    watch.waiting["1"] = Waiting(QUEUE, asyncio.get_running_loop().create_future(), taken_at=0.0)
    watch.now = 5.0
    assert watch._silent() == {QUEUE}
    watch.answered(QUEUE)
    assert watch._silent() == set()


async def test_queue_is_not_looked_at_before_the_broker_confirms() -> None:
    watch = Looking([(1, 0)])
    watch.waiting["1"] = Waiting(QUEUE, asyncio.get_running_loop().create_future())
    watch.now = 60.0
    assert watch._silent() == set()
