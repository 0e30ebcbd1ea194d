"""A TCP proxy in front of a server: it cuts, delays, holds up and half-opens the connections through it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

CHUNK_BYTES = 2**16


class Way(StrEnum):
    """The two ways of a connection."""

    REQUESTS = "requests"
    ANSWERS = "answers"


BOTH_WAYS = frozenset(Way)


@dataclass(frozen=True)
class Cut:
    """Where a proxy cuts a connection, once or always: at a mark in a request, before the server gets it or after."""

    mark: bytes
    after: bool = False
    always: bool = False


@dataclass(eq=False)
class Link:
    """One connection through a proxy."""

    silent: bool = False
    """Whether the connection ends where the server answers next."""
    lost: set[Way] = field(default_factory=set)
    """The ways on which nothing arrives any more, not even that the other side is gone."""


class Proxy:
    """A TCP proxy in front of a server."""

    def __init__(self, url: str) -> None:
        self.next_cut: Cut | None = None
        self.cuts = 0
        """How many connections were cut at a mark."""
        self.passed: Counter[Way] = Counter()
        """How many pieces have been passed on, each way."""
        self.delay_s = 0.0
        """How long everything that passes is kept, on either way."""
        self._upstream = urlsplit(url)
        self._links: dict[asyncio.Task[None], Link] = {}
        self._flowing = {way: asyncio.Event() for way in Way}
        self.resume()
        self._listener: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where clients connect instead."""
        user = self._upstream.netloc.rpartition("@")[0]
        return self._upstream._replace(netloc=f"{user}@127.0.0.1:{self._port}").geturl()

    def lead_to(self, url: str) -> None:
        """Lead new connections to another server."""
        self._upstream = urlsplit(url)

    async def accept(self) -> None:
        """Take connections, on the same port as before."""
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Drop all connections without a word."""
        for link in self._links:
            link.cancel()

    async def refuse(self) -> None:
        """Drop all connections, and take no more."""
        if self._listener is not None:
            self._listener.close()
        self.cut()
        if self._links:
            await asyncio.wait(self._links)

    def stall(self, ways: Iterable[Way] = BOTH_WAYS) -> None:
        """Let nothing pass on these ways until `resume`, on no connection; nothing is lost."""
        for way in ways:
            self._flowing[way].clear()

    def resume(self) -> None:
        """Let pass what `stall` has kept."""
        for flowing in self._flowing.values():
            flowing.set()

    def half_open(self, ways: Iterable[Way] = BOTH_WAYS) -> None:
        """Drop all data sent these ways on the connections that are open now; new ones work.

        Neither side hears that the other one has closed such a connection.
        """
        for link in self._links.values():
            link.lost.update(ways)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link()
        task = asyncio.create_task(self._run(link, reader, writer))
        self._links[task] = link
        task.add_done_callback(self._links.pop)
        # Also where it is cut before it has begun.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _run(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
        except OSError:
            return
        ways = {
            asyncio.create_task(self._pass(Way.REQUESTS, link, reader, far_writer)),
            asyncio.create_task(self._pass(Way.ANSWERS, link, far_reader, writer)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if link.lost:
                await asyncio.wait(ways)
        finally:
            for way in ways:
                way.cancel()
            far_writer.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, way: Way, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(CHUNK_BYTES):
                if self._ends_here(way, link, data):
                    return
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flowing[way].wait()
                if way not in link.lost:
                    writer.write(data)
                    self.passed[way] += 1
                    await writer.drain()

    def _ends_here(self, way: Way, link: Link, data: bytes) -> bool:
        """Tell whether the connection is to be cut before this is passed on."""
        if way is Way.ANSWERS:
            return link.silent
        cut = self.next_cut
        if cut is None or cut.mark not in data:
            return False
        self.next_cut = cut if cut.always else None
        self.cuts += 1
        link.silent = cut.after
        return not cut.after


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """Put a proxy in front of a server for the time of the context."""
    proxy = Proxy(url)
    await proxy.accept()
    try:
        yield proxy
    finally:
        await proxy.refuse()


def joined(*urls: str) -> str:
    """One URL that names the hosts of all of them."""
    first = urlsplit(urls[0])
    user, at, _ = first.netloc.rpartition("@")
    hosts = ",".join(urlsplit(url).netloc.rpartition("@")[2] for url in urls)
    return first._replace(netloc=f"{user}{at}{hosts}").geturl()
