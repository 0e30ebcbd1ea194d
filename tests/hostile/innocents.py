"""Innocent publishers: a process of its own that sends commands at a steady rate, and tells how long each outcome took.

A line of its input, `COUNT RATE`, asks for so many commands at so many a second; a line of its output answers it with
the seconds from publishing to the outcome at `reply_to`, of each command, as a JSON array.
"""

import asyncio
import gc
import json
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from tests.support.paths import REPOSITORY

ANSWERED_WITHIN_S = 60.0

LINE_BYTES_MAX = 2**20


@dataclass(frozen=True)
class Innocents:
    """The process, as a test sees it."""

    process: Process

    async def p99_s(self, commands: int, rate: float) -> float:
        """Have commands sent at a rate, and return how long 99 of 100 outcomes took at most, in seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{commands} {rate}\n".encode())
        async with asyncio.timeout(ANSWERED_WITHIN_S + commands / rate):
            line = await self.process.stdout.readline()
        assert line, "the innocents had no answer"
        took_s = sorted(json.loads(line))
        assert len(took_s) == commands
        return float(took_s[commands * 99 // 100 - 1])


@asynccontextmanager
async def innocents(amqp_url: str, namespace: str) -> AsyncIterator[Innocents]:
    """Run them until the context ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.hostile.innocents",
        amqp_url,
        namespace,
        stdin=PIPE,
        stdout=PIPE,
        cwd=REPOSITORY,
        limit=LINE_BYTES_MAX,
    )
    try:
        yield Innocents(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _send_steadily(
    exchange: aio_pika.abc.AbstractExchange, reply_to: str, count: int, rate: float
) -> dict[str, float]:
    """Publish documents of their own, each at its time however long the outcomes take; when each was sent."""
    sent_at: dict[str, float] = {}
    began = monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - monotonic()))
        command_id = str(uuid.uuid4())
        command = {
            "specversion": "1.0",
            "id": command_id,
            "source": "/innocent",
            "type": "document.put",
            "subject": f"innocent-{command_id}",
            "data": {"expected_generation": None, "body": {"owner": "innocent"}},
        }
        message = aio_pika.Message(
            json.dumps(command).encode(),
            content_type="application/cloudevents+json",
            reply_to=reply_to,
            correlation_id=command_id,
        )
        sent_at[command_id] = monotonic()
        await exchange.publish(message, "document.put", mandatory=True)
    return sent_at


async def _work(amqp_url: str, namespace: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        arrived_at: dict[str, float] = {}
        news = asyncio.Event()

        async def on_reply(message: AbstractIncomingMessage) -> None:
            if message.correlation_id:
                arrived_at[message.correlation_id] = monotonic()
                news.set()

        replies = await channel.declare_queue(exclusive=True)
        await replies.consume(on_reply, no_ack=True)
        commands = await channel.get_exchange(f"{namespace}.commands", ensure=False)
        while line := await asyncio.to_thread(sys.stdin.readline):
            count, rate = line.split()
            arrived_at.clear()
            gc.collect()
            gc.freeze()
            sent_at = await _send_steadily(commands, replies.name, int(count), float(rate))
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                while sent_at.keys() - arrived_at.keys():
                    news.clear()
                    await news.wait()
            took_s = [arrived_at[command] - at for command, at in sent_at.items()]
            sys.stdout.write(json.dumps(took_s) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_work(*sys.argv[1:]))
