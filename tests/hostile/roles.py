"""A broker with the users and the limits of docs/roles.md, and attackers who are such users."""

import asyncio
import base64
import hashlib
import json
import re
import shlex
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.outcomes import BULK_CONTENT_TYPE
from genlock.schemas.queries import QUERIES
from genlock.servers.local import LocalRabbit
from tests.hostile.worst import Sent
from tests.support.factories import Json
from tests.support.paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "roles.md").read_text()

PUBLISHER = "inventory"
"""The page's publisher: of documents."""
SUBSCRIBER = "billing"

INNOCENT = "innocent"
"""One more publisher of documents."""

CONNECTIONS_MAX, CHANNELS_MAX = 10, 50
"""How many of each the page lets a user have."""

ANSWERED_WITHIN_S = 60.0


def first_words() -> set[str]:
    """What types of commands and queries begin with: each publisher and each asker has the rights of one."""
    return {name.split(".")[0] for name in (*COMMANDS, *QUERIES)}


def _commands() -> Iterator[str]:
    lines = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()
    yield from (line for line in lines if line)
    publisher = [line for line in lines if re.search(rf"\b{PUBLISHER}\b", line)]
    for word in first_words():
        for line in publisher:
            yield line.replace(PUBLISHER, f"of-{word}").replace("document", word)
    for line in publisher:
        yield line.replace(PUBLISHER, INNOCENT)
    yield "rabbitmqctl set_permissions -p genlock guest '.*' '.*' '.*'"


def set_up(rabbit: LocalRabbit) -> None:
    """Give the broker what the commands of the page say, in one call: each of them starts an Erlang of its own."""
    definitions = rabbit.folder / "definitions.json"
    definitions.write_text(json.dumps(definitions_of(_commands())))
    definitions.chmod(0o644)
    rabbit.control("import_definitions", str(definitions))


def definitions_of(commands: Iterable[str]) -> Json:
    """The definitions that say what these commands of rabbitmqctl do."""
    found: dict[str, list[Json]] = defaultdict(list)
    users: dict[str, Json] = {"guest": {"tags": "administrator", **_hashed("guest")}}
    for command in commands:
        match shlex.split(command):
            case ["rabbitmqctl", "add_vhost", vhost]:
                found["vhosts"].append({"name": vhost})
            case ["rabbitmqctl", "add_user", user, password]:
                users[user] = {"tags": "", **_hashed(password)}
            case ["rabbitmqctl", "set_permissions", "-p", vhost, user, configure, write, read]:
                rights = {"configure": configure, "write": write, "read": read}
                found["permissions"].append({"vhost": vhost, "user": user, **rights})
            case ["rabbitmqctl", "set_topic_permissions", "-p", vhost, user, exchange, write, read]:
                rights = {"exchange": exchange, "write": write, "read": read}
                found["topic_permissions"].append({"vhost": vhost, "user": user, **rights})
            case ["rabbitmqctl", "set_user_limits", user, limits]:
                users[user]["limits"] = json.loads(limits)
            case ["rabbitmqctl", "set_vhost_limits", "-p", vhost, limits]:
                limit = {"component": "vhost-limits", "name": "limits", "value": json.loads(limits)}
                found["parameters"].append({"vhost": vhost, **limit})
            case ["rabbitmqctl", "set_policy", "-p", vhost, "--apply-to", kind, name, pattern, definition]:
                policy = {"name": name, "pattern": pattern, "apply-to": kind, "definition": json.loads(definition)}
                found["policies"].append({"vhost": vhost, "priority": 0, **policy})
            case words:
                raise AssertionError(f"definitions of {words} are not known")
    return {"users": [{"name": name, **user} for name, user in users.items()], **found}


def _hashed(password: str) -> Json:
    """A password as RabbitMQ keeps it."""
    salt = b"salt"
    digest = hashlib.sha256(salt + password.encode()).digest()
    hashing = {"hashing_algorithm": "rabbit_password_hashing_sha256"}
    return {"password_hash": base64.b64encode(salt + digest).decode(), **hashing}


def url_of(rabbit: LocalRabbit, user: str, password: str = "change-me") -> str:  # noqa: S107 - the page's
    """The URL of a user."""
    return f"amqp://{user}:{password}@127.0.0.1:{rabbit.port}/genlock"


def attacker(rabbit: LocalRabbit, first_word: str) -> str:
    """The URL of the publisher who may send commands and queries whose types begin with this word."""
    return url_of(rabbit, f"of-{first_word}")


@dataclass
class Attack:
    """An attack under way: it sends its volleys until it is told to stop."""

    volleys: int = 0


@asynccontextmanager
async def attacking(url: str, exchange: str, volley: Callable[[], list[Sent]]) -> AsyncIterator[Attack]:
    """Send volleys at half of the rate at which the service answers them, from one volley's arrival on.

    After each volley there is a pause of the time that its answers took: half of the time the service has nothing of
    the attacker's. So the rate is half of the drain rate in commands and in bytes, whatever they cost.
    """
    attack = Attack()
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        found = await channel.get_exchange(exchange, ensure=False)
        answered = asyncio.Semaphore(0)

        async def on_answer(message: AbstractIncomingMessage) -> None:
            if message.correlation_id is None:
                return
            # A bulk message may be answered in several.
            bulk = message.content_type == BULK_CONTENT_TYPE
            for _ in range(message.body.count(b'"specversion"') if bulk else 1):
                answered.release()

        replies = await channel.declare_queue(exclusive=True)
        await replies.consume(on_answer, no_ack=True)
        stopping = asyncio.Event()
        under_way = asyncio.Event()

        async def send() -> None:
            while not stopping.is_set():
                messages = volley()
                began = monotonic()
                for sent in messages:
                    await found.publish(_message(sent, replies.name), sent.routing_key)
                under_way.set()
                async with asyncio.timeout(ANSWERED_WITHIN_S):
                    for _ in range(sum(sent.answers for sent in messages)):
                        await answered.acquire()
                attack.volleys += 1
                await _pause(stopping, monotonic() - began)

        sending = asyncio.create_task(send())
        waiting = asyncio.create_task(under_way.wait())
        try:
            await asyncio.wait({waiting, sending}, return_when=asyncio.FIRST_COMPLETED)
            yield attack
        finally:
            waiting.cancel()
            stopping.set()
            await sending


def _message(sent: Sent, reply_to: str) -> aio_pika.Message:
    """The message; what is answered to it is counted if it has a correlation id."""
    properties = {"reply_to": reply_to, "correlation_id": "counted" if sent.answers else None, **sent.properties}
    return aio_pika.Message(sent.body, content_type=sent.content_type, **properties)


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
