"""Binding the namespace on the broker to another database, as after a restore."""

import aiormq

from genlock.consumers.amqp.declare import declare_identity, delete_identity
from genlock.consumers.amqp.session import Session
from genlock.consumers.amqp.topology import Topology
from genlock.service.settings import Settings


class ReplicasAtWorkError(Exception):
    """A queue has a consumer; the message says which."""


async def adopt(session: Session, settings: Settings, identity: str) -> None:
    """Bind the namespace to the database with this identity. Raises ReplicasAtWorkError and BROKER_ERRORS."""
    topology = Topology.of(settings, identity=identity)
    for queue in (topology.inbox, topology.queries):
        channel = await session.channel(essential=False)
        underlay = await channel.get_underlay_channel()
        try:
            declared = await underlay.queue_declare(queue, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            continue
        if declared.consumer_count:
            raise ReplicasAtWorkError(f"{queue} is in use: stop all replicas first.")
        await channel.close()
    channel = await session.channel(essential=False)
    await delete_identity(topology, channel)
    await declare_identity(topology, channel)
