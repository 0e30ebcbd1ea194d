"""Section four: the latency from publishing a command to receiving its outcome, at several loads.

The load is open: commands are due at random times drawn beforehand (a Poisson process), are sent then whether or not
earlier ones are answered, and are timed from their due time. So a service that falls behind cannot improve its figures
by making its clients wait (coordinated omission).
"""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from itertools import accumulate, islice
from random import Random

import aio_pika
from aiormq.abc import DeliveredMessage

import genlock
from bench import drain, processor
from bench.drain_run import check, prepare, serving, until_consuming
from bench.figures import Figures, Line, Target
from bench.messages import Message
from bench.queues import Queues, queues
from bench.run import Run
from bench.systems import GENLOCK
from bench.workloads import FIRST, SOURCE, Preload, document_id, put
from genlock import servers

LOADS = (0.1, 0.5, 0.8)
"""The loads, as shares of the drain rate."""

LOAD_S = 6.0
WARM_UP_S = 1.0
"""The time before a load whose outcomes do not count."""

TICK_S = 0.001
"""The shortest sleep of the publisher: the error of a latency."""

SAMPLES_PER_SECOND = 600
"""The most outcomes received per second: a process that reads all would take a third of a core from the others. Every
command gets an event; the commands of the sample also request a reply, which is timed."""

LATE_S = 60.0
"""How long a load waits for its last outcome."""

LONE = 150
"""How many lone commands are timed."""

LONE_PAUSE_S = 0.01

LONE_NAME = "a lone command"
POINTS = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
LONE_POINTS = ("p50", "p99")
"""The percentiles of lone commands, which are too few for higher ones."""


@dataclass(slots=True)
class Latencies:
    """The due times of commands, and the latency of each outcome from then on, in seconds."""

    due: Sequence[float]
    wanted: int
    taken: dict[int, float] = field(default_factory=dict)
    all_there: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, message: DeliveredMessage) -> None:
        """Note the arrival of an outcome."""
        arrived = time.perf_counter()
        number = int(message.header.properties.correlation_id or "")
        self.taken[number] = arrived - self.due[number]
        if len(self.taken) == self.wanted:
            self.all_there.set()


async def measure(run: Run) -> None:
    """Time lone commands, then those of each load, all with the same process of Genlock."""
    drained_per_second = await drain.rate(run)
    counts = [int(share * drained_per_second * (WARM_UP_S + LOAD_S)) for share in LOADS]
    subjects = [document_id(number) for number in range(LONE + sum(counts))]
    messages = (put(subject, FIRST) for subject in subjects)
    async with _served(run.running, subjects) as waiting:
        _note(run, LONE_NAME, await lone(run.running, waiting.namespace, islice(messages, LONE)), LONE_POINTS)
        for share, count in zip(LOADS, counts, strict=True):
            loaded = await load(run.running, waiting, list(islice(messages, count)), share * drained_per_second)
            _note(run, load_name(share), loaded, POINTS)


def load_name(share: float) -> str:
    """The name of a load's figures."""
    return f"at {share * 100:.0f} % of the drain rate"


def _note(run: Run, name: str, seconds: Sequence[float], points: Iterable[str]) -> None:
    for point in points:
        ms = percentile_ms(seconds, point)
        run.note(f"{name}, {point}", ms, f"{ms:,.1f} ms")


def percentile_ms(seconds: Sequence[float], point: str) -> float:
    """A percentile of the latencies, in milliseconds."""
    return sorted(seconds)[math.ceil(POINTS[point] * len(seconds)) - 1] * 1_000


@asynccontextmanager
async def _served(running: servers.Servers, subjects: Sequence[str]) -> AsyncIterator[Queues]:
    """Run the service with a document for each command. Afterwards each must have been accepted once."""
    every = Preload([], "document", subjects, len(subjects), len(subjects))
    async with servers.database(running.database_url) as database_url, queues(running.amqp_url) as waiting:
        await prepare(GENLOCK, database_url, every)
        async with serving(running, GENLOCK, database_url, waiting.namespace) as started:
            await until_consuming(started, waiting, GENLOCK.consumers)
            yield waiting
        await check(database_url, GENLOCK, waiting, every)


async def lone(running: servers.Servers, namespace: str, messages: Iterable[Message]) -> list[float]:
    """Send commands with the Python client, one at a time and with pauses; return the latencies in seconds."""
    taken = []
    async with genlock.connect(running.amqp_url, namespace=namespace, source=SOURCE) as client:
        for message in messages:
            command = json.loads(message.body)
            await asyncio.sleep(LONE_PAUSE_S)
            began = time.perf_counter()
            await client.send_envelope(command)
            taken.append(time.perf_counter() - began)
    return taken


async def load(
    running: servers.Servers, waiting: Queues, messages: Sequence[Message], per_second: float
) -> list[float]:
    """Publish commands at their due times; return the latencies of the sample in seconds, without the warm-up."""
    stride = math.ceil(per_second / SAMPLES_PER_SECOND)
    gaps = Random(1)
    after = list(accumulate(gaps.expovariate(per_second) for _ in messages))
    async with await aio_pika.connect(running.amqp_url) as connection:
        channel = await connection.channel()
        replies = await channel.declare_queue(exclusive=True, auto_delete=True)
        asking = [
            _asking(message, replies.name, number) if number % stride == 0 else message
            for number, message in enumerate(messages)
        ]
        for message in asking:
            _ = message.frames  # Encoded now, not when it is due.
        with processor.no_collection():
            began = time.perf_counter() + TICK_S
            latencies = Latencies([began + seconds for seconds in after], math.ceil(len(messages) / stride))
            underlay = await channel.get_underlay_channel()
            await underlay.basic_consume(replies.name, latencies.take, no_ack=True)
            await _publish(waiting, asking, latencies.due)
            await asyncio.wait_for(latencies.all_there.wait(), LATE_S)
    return [taken for number, taken in latencies.taken.items() if after[number] >= WARM_UP_S]


def _asking(message: Message, reply_to: str, number: int) -> Message:
    """The same message with a request for a copy of its outcome."""
    properties = copy(message.properties)
    properties.reply_to, properties.correlation_id = reply_to, str(number)
    return Message(message.routing_key, message.body, properties)


async def _publish(waiting: Queues, messages: Sequence[Message], due: Sequence[float]) -> None:
    """Send each message once it is due, together with others due by then."""
    start = 0
    while start < len(messages):
        await asyncio.sleep(max(TICK_S, due[start] - time.perf_counter()))
        now, end = time.perf_counter(), start
        while end < len(messages) and due[end] <= now:
            end += 1
        await waiting.publish(messages[start:end])
        start = end


def lines(figures: Figures) -> dict[str, list[Line]]:
    """The lines of the table, by title."""

    def line(name: str, point: str, at_most: float | None = None) -> Line:
        target = None if at_most is None else Target(at_most, at_most=True)
        return Line(f"{name}, {point}", figures.of(f"{name}, {point}"), ".1f", target)

    return {
        "latency, publish to outcome, one process: ms": [
            line(LONE_NAME, "p50", 5.0),
            line(LONE_NAME, "p99"),
            *(
                line(load_name(share), point, 25.0 if (share, point) == (0.5, "p99") else None)
                for share in LOADS
                for point in POINTS
            ),
        ]
    }
