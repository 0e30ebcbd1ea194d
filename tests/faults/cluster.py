"""A RabbitMQ cluster on this machine: nodes that share a port mapper and a cookie, and find each other by name."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from genlock.servers.local import Epmd, LocalRabbit
from genlock.servers.programs import Programs
from tests.support.harness import until
from tests.support.proxy import joined

NODES = 3


class Node(LocalRabbit):
    """A node of a cluster; `peers` are the names of all of its nodes."""

    def __init__(self, programs: Programs, epmd: Epmd, cookie: str) -> None:
        super().__init__(programs, epmd)
        self._write(".erlang.cookie", cookie).chmod(0o400)
        self.peers: list[str] = []

    def _config(self) -> list[str]:
        discovery = ["cluster_formation.peer_discovery_backend = classic_config"]
        peers = [f"cluster_formation.classic_config.nodes.{n} = {peer}" for n, peer in enumerate(self.peers, 1)]
        return [*super()._config(), *discovery, *peers]


class Cluster:
    """Running nodes. Durable data outlives the loss of one of them."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        """Where clients connect: the URL names all nodes."""
        return joined(*(node.url for node in self.nodes))

    def control(self, *words: str) -> str:
        """Give a node that runs a command of rabbitmqctl; return what it says. Raises subprocess.SubprocessError."""
        return next(node for node in self.nodes if node.runs).control(*words)

    async def leader_of(self, queue: str) -> Node:
        """The node that leads a quorum queue."""
        leaders = await self._queues("leader")
        return next(node for node in self.nodes if node.node == leaders[queue])

    async def start_again(self) -> None:
        """Start the nodes that do not run, and wait until they have joined the others."""
        ended = [node for node in self.nodes if not node.runs]
        for node in ended:
            node.launch()
        for node in ended:
            await asyncio.to_thread(node.wait_ready)

    async def until_whole(self, queues: list[str]) -> None:
        """Return when each node has its replica of each of these queues running."""

        async def whole() -> bool:
            online = await self._queues("online")
            return all(len(online.get(queue, ())) == len(self.nodes) for queue in queues)

        await until(whole)

    async def _queues(self, column: str) -> dict[str, Any]:
        """What a column says of each queue."""
        listed = await asyncio.to_thread(self.control, "list_queues", "name", column, "--formatter", "json")
        return {row["name"]: row[column] for row in json.loads(listed)}


@contextmanager
def cluster(programs: Programs) -> Iterator[Cluster]:
    """Start a cluster for the time of the context. Only in the main thread. Raises ServersUnavailable."""
    with Epmd(programs) as epmd, ExitStack() as stack:
        cookie = secrets.token_hex(16)
        nodes = [stack.enter_context(closing(Node(programs, epmd, cookie))) for _ in range(NODES)]
        for node in nodes:
            node.peers = [peer.node for peer in nodes]
            node.launch()
        for node in nodes:
            node.wait_ready()
        yield Cluster(nodes)
