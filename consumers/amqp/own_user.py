"""The user that the broker knows a connection by.

The URL does not always tell: a login by certificate or by token has the name that the broker makes of it.
"""

import asyncio

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelClosed, ChannelPreconditionFailed
from pamqp.commands import Basic

from genlock._net.refusals import told_user

ANY_USER = "?"

ASK_TIMEOUT_S = 1.0
"""A broker that is short of memory or disk answers nothing to a connection that publishes, and must not keep a session
from being opened."""


async def own_user(connection: AbstractConnection, supposed: str | None) -> str | None:
    """Ask the broker whether `supposed` is the user of a connection, and which one is otherwise.

    Publishes a message to no queue. The broker refuses it if its `user_id` is another user, and names the right one.
    Returns None where it does not tell, and what was supposed where it does not answer. Raises aio-pika's errors.
    """
    channel = await connection.channel(publisher_confirms=True)
    underlay = await channel.get_underlay_channel()
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            await underlay.basic_publish(b"", properties=Basic.Properties(user_id=supposed or ANY_USER))
    except ChannelPreconditionFailed as error:
        return told_user(error)
    except ChannelClosed:
        return None
    except TimeoutError:
        return supposed
    await channel.close()
    return supposed
