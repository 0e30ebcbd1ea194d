"""Sessions: clients that call the service one call after the other, and record what they see of it.

Each is a client of Genlock's own, with a connection of its own. Half of its calls are queries. A call that has no
answer in time is left open, and then often sent again under its own id, as the client's errors advise.
"""

import asyncio
import random
from collections import deque
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, suppress

import genlock
from genlock.schemas.outcomes import parse_outcome
from tests.faults.histories.checker import Report, check
from tests.faults.histories.history import History, Json
from tests.faults.histories.sights import Key, named
from tests.faults.journal import Journal
from tests.faults.messages import OutgoingMessage, outgoing
from tests.faults.workload import World
from tests.support.factories import envelope, json_bytes
from tests.support.harness import until

CALL_TIMEOUT_S = 3.0
RETRY_S = 0.2
HEARTBEAT_S = 2

QUERY_SHARE = 0.5
AGAIN_SHARE = 0.7
"""Of the commands without an answer, those that are sent again."""

RECENT = 20
AT_ONCE = 8
"""How many of the last queries are on their way at the same time."""

QUERIES = ("get", "get", "get", "get", "get", "get", "usages", "allocations", "history", "fate")


class Sessions:
    """Some sessions on records of their own, and the history of what they saw since the last check."""

    def __init__(self, *, seed: str, url: str, namespace: str, journal: Journal, count: int, pause_s: float) -> None:
        self.history = History()
        self._chance = random.Random(f"{seed}/histories")
        self._world = World(self._chance)
        self._url = f"{url}{'&' if '?' in url else '?'}heartbeat={HEARTBEAT_S}"
        self._namespace = namespace
        self._journal = journal
        self._pause_s = pause_s
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._drawing = asyncio.Event()
        self._idle = [asyncio.Event() for _ in range(count)]

    def begin(self) -> None:
        """Call from now on."""
        for idle in self._idle:
            idle.clear()
        self._drawing.set()

    async def end(self) -> None:
        """Call no more, and return when every call has its answer or was given up."""
        self._drawing.clear()
        for idle in self._idle:
            await idle.wait()

    async def run(self) -> None:
        """Call until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number, idle in enumerate(self._idle, 1):
                group.create_task(self._session(f"client {number}", idle))

    async def proved(self, url: str) -> Report:
        """Once all is quiet, ask for what no answer told yet, and check the history; then go on with a new one.

        The service must be there; `url` leads to its broker directly.
        """
        async with self._client(url) as client:
            open_commands = {one.id for one in self.history.operations if not one.query} - self._answered()
            keys = set[Key]().union(*(named(one.request) for one in self.history.operations if not one.query))
            queries = [envelope("command.get", command_id, {}) for command_id in sorted(open_commands)]
            for kind, record_id in sorted(keys):
                queries.append(envelope(f"{kind}.get", record_id, {}))
                queries.append(envelope("record.history", record_id, {"kind": kind, "limit": 1000}))
            await self._ask_all(client, queries)
        # In a thread, because it takes seconds, and the proxies of this process must not stand still meanwhile.
        trusted = self.history.trusted()
        report = await asyncio.to_thread(check, trusted, left_out=len(self.history.operations) - len(trusted))
        self.history = History()
        self._recent.clear()
        self._world.renew()
        return report

    def _answered(self) -> set[str]:
        return {one.id for one in self.history.operations if one.answer is not None}

    async def _ask_all(self, client: genlock.Client, queries: Iterable[Json]) -> None:
        """Ask each query until it is answered."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def ask(query: Json) -> None:
            async with turns:
                await until(lambda: self._query(client, "the last look", query))

        async with asyncio.TaskGroup() as group:
            for query in queries:
                group.create_task(ask(query))

    def _client(self, url: str) -> AbstractAsyncContextManager[genlock.Client]:
        return genlock.connect(
            url, namespace=self._namespace, source="/histories", timeout_s=CALL_TIMEOUT_S, absence_s=CALL_TIMEOUT_S
        )

    async def _session(self, name: str, idle: asyncio.Event) -> None:
        """Call on one connection after another: a client outlives most losses of its connection, and not all."""
        while True:
            with suppress(genlock.CannotConnect, genlock.ClientClosed):
                async with self._client(self._url) as client:
                    await self._calls(name, client, idle)
            idle.set()
            await asyncio.sleep(RETRY_S)

    async def _calls(self, name: str, client: genlock.Client, idle: asyncio.Event) -> None:
        idle.clear()
        while True:
            if not self._drawing.is_set() or self.history.full:
                idle.set()
                await self._drawing.wait()
                idle.clear()
            if self._chance.random() < QUERY_SHARE:
                await self._query(client, name, self._draw_query())
            else:
                await self._command(client, name, outgoing(self._world.command()))
            await asyncio.sleep(self._pause_s)

    async def _command(self, client: genlock.Client, name: str, sent: OutgoingMessage) -> None:
        """Send a command, and often again if no answer comes."""
        self._journal.fresh.add(sent)
        self._journal.given_up.add(sent)
        self._recent.append(sent.id)
        answered = await self._call(client, name, sent)
        while not answered and self._chance.random() < AGAIN_SHARE:
            await asyncio.sleep(RETRY_S)
            answered = await self._call(client, name, sent)

    async def _call(self, client: genlock.Client, name: str, sent: OutgoingMessage) -> bool:
        """Send a command once; tell whether an answer came."""
        assert sent.command is not None
        operation = self.history.began(name, sent.command, query=False)
        try:
            outcome = await client.send_envelope(sent.command)
        except genlock.NotTaken:
            operation.not_taken = True
        except genlock.ClientClosed:
            raise
        except genlock.Unanswered:
            pass
        else:
            event = outcome.model_dump(mode="json")
            self.history.ended(operation, event)
            self._journal.given_up.discard(sent)
            self._journal.was_confirmed(sent)
            self._world.learn(event)
            return True
        return False

    async def _query(self, client: genlock.Client, name: str, query: Json) -> bool:
        """Ask a query once; tell whether an answer came."""
        operation = self.history.began(name, query, query=True)
        try:
            answer = await client.query(query["type"], query["subject"], **query["data"])
        except genlock.QueryFailed as error:
            answer = {"error": {"code": error.code, "message": error.message}}
        except genlock.ClientClosed:
            raise
        except (genlock.NotTaken, genlock.Unanswered):
            return False
        if query["type"] == "command.get" and "record" in answer:
            answer = {"record": parse_outcome(json_bytes(answer["record"])).model_dump(mode="json")}
        self.history.ended(operation, answer)
        return True

    def _draw_query(self) -> Json:
        what = self._chance.choice(QUERIES)
        if what == "fate" and self._recent:
            return envelope("command.get", self._chance.choice(self._recent), {})
        kind, subject = self._world.pick_known()
        if what == "history":
            return envelope("record.history", subject, {"kind": kind, "limit": 1000})
        if kind == "provider" and what in ("usages", "allocations"):
            return envelope(f"provider.{what}", subject, {"limit": 1000})
        return envelope(f"{kind}.get", subject, {})
