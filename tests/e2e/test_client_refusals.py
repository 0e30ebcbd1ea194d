"""A broker that refuses the client, or something that it does: each reason has a sentence of its own and no secret."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NoReturn

import aio_pika
import pytest
from pydantic import SecretStr

import genlock
from genlock._client.link import connected
from genlock.service.settings import Settings
from tests.support import command_line
from tests.support.factories import new_id
from tests.support.proxy import proxied
from tests.support.secured_servers import Secured

SECRET = "open-sesame"  # noqa: S105 - of a user that this test makes
ALL = (".*", ".*", ".*")


@pytest.fixture(scope="module")
def vhost(secured: Secured) -> Iterator[str]:
    """A virtual host with a user, ann, that may do anything there; and one that ann may not enter."""
    control = secured.rabbit.control
    for words in (
        ("add_user", "ann", SECRET),
        ("add_vhost", "farm"),
        ("add_vhost", "castle"),
        ("set_permissions", "-p", "farm", "ann", *ALL),
    ):
        control(*words)
    yield "farm"
    control("delete_vhost", "farm")
    control("delete_vhost", "castle")
    control("delete_user", "ann")


def url(secured: Secured, user: str = "ann", vhost: str = "farm", password: str = SECRET) -> str:
    return f"amqp://{user}:{password}@127.0.0.1:{secured.rabbit.port}/{vhost}"


async def told(amqp_url: str) -> genlock.CannotConnect:
    """What `connect` says."""
    with pytest.raises(genlock.CannotConnect) as raised:
        async with genlock.connect(amqp_url, timeout_s=20):
            pass
    assert SECRET not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    return raised.value


LASTING = {
    "wrong password": "refuses the user ann: the password is wrong, or there is no such user",
    "unknown user": "refuses the user bob: the password is wrong, or there is no such user",
    "unknown virtual host": "has no virtual host moat: add it",
    "another's virtual host": "does not let the user ann into the virtual host castle",
    "TLS on the plain port": "speaks no TLS on this port: begin the URL with amqp://",
    "no TLS on the port for it": r"expects TLS|closes the connection without a reason: .* expects TLS \(amqps://\)",
    "no authority": r"shows a certificate that is not trusted \(certificate verify failed",
    "no file of an authority": "a file that the URL names cannot be read",
    "no file of a password": "is not asked: the file with the password cannot be read",
    "bad file of an authority": "a certificate or key in the URL is not valid",
}


@pytest.mark.usefixtures("vhost")
@pytest.mark.parametrize("fault", LASTING)
async def test_refused_login_is_told_the_reason(secured: Secured, settings: Settings, fault: str) -> None:
    plain = url(secured)
    urls = {
        "wrong password": plain.replace(SECRET, "wrong"),
        "unknown user": plain.replace("ann", "bob"),
        "unknown virtual host": plain.replace("farm", "moat"),
        "another's virtual host": plain.replace("farm", "castle"),
        "TLS on the plain port": plain.replace("amqp:", "amqps:"),
        "no TLS on the port for it": secured.amqps_url("ann", SECRET).replace("amqps:", "amqp:"),
        "no authority": secured.amqps_url("ann", SECRET),
        "no file of an authority": secured.amqps_url("ann", SECRET, cafile="/none"),
        "no file of a password": plain.replace(f":{SECRET}", "") + "?password_file=/none",
        "bad file of an authority": secured.amqps_url("ann", SECRET, cafile=__file__),
    }
    error = await told(urls[fault])
    assert re.search(LASTING[fault], str(error)), error
    assert error.lasting or fault == "no TLS on the port for it"
    there = settings.model_copy(update={"amqp_url": SecretStr(urls[fault])})
    for arguments in (("get", "document", "x"), ("lanes", "1")):
        ran = await command_line.genlock(there, *arguments)
        assert ran.code == 1
        assert len(ran.err.splitlines()) == 1, ran.err
        assert SECRET not in ran.err
    got = await command_line.genlock(there, "get", "document", "x")
    assert got.err == f"genlock: {error}\n"


@pytest.mark.usefixtures("vhost")
@pytest.mark.parametrize(
    ("limit", "clear"),
    [
        (("set_vhost_limits", "-p", "farm"), ("clear_vhost_limits", "-p", "farm")),
        (("set_user_limits", "ann"), ("clear_user_limits", "ann", "all")),
    ],
)
async def test_a_limit_of_connections_is_told_and_may_pass(
    secured: Secured, limit: tuple[str, ...], clear: tuple[str, ...]
) -> None:
    secured.rabbit.control(*limit, '{"max-connections": 0}')
    try:
        error = await told(url(secured))
    finally:
        secured.rabbit.control(*clear)
    assert re.search(r"takes no more connections of the user ann: .*limit \(0\) is reached", str(error))
    assert not error.lasting


OTHERS = {
    b"HTTP/1.1 400 Bad Request\r\n\r\n": "is no AMQP broker on this port: it says 'HTTP/1.'",
    b"SSH-2.0-OpenSSH_9.2\r\n": "is no AMQP broker on this port: it says 'SSH-2.0'",
    b"AMQP\x03\x01\x00\x00": "speaks another version of AMQP than 0-9-1",
    b"\x15\x03\x03\x00\x02\x02\x46": "expects TLS on this port: begin the URL with amqps://",
    b"-ERR\r\n": "is no AMQP broker on this port: it says '-ERR",
    b"": "closes the connection without a reason: it is no AMQP broker",
}


@asynccontextmanager
async def saying(words: bytes, *, stays: bool) -> AsyncIterator[int]:
    """A server that says this, and then closes the connection or waits for more; its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        # The client's header is read, so that closing the socket does not discard our answer.
        await reader.read() if stays else await reader.readexactly(8)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("words", OTHERS)
@pytest.mark.parametrize("stays", [True, False])
async def test_another_server_on_the_port_is_recognized(words: bytes, stays: bool) -> None:
    if stays and len(words) < 7:
        stays = False
    async with saying(words, stays=stays) as port:
        assert re.search(OTHERS[words], str(await told(f"amqp://ann:{SECRET}@127.0.0.1:{port}/")))


@contextmanager
def permitted(secured: Secured, configure: str, write: str, read: str) -> Iterator[None]:
    """Give ann these permissions alone for the time of the context."""
    secured.rabbit.control("set_permissions", "-p", "farm", "ann", configure, write, read)
    try:
        yield
    finally:
        secured.rabbit.control("set_permissions", "-p", "farm", "ann", *ALL)


@pytest.mark.usefixtures("vhost")
@pytest.mark.parametrize(("configure", "verb"), [("^$", "configure"), ("^amq", "read from")])
async def test_without_a_queue_for_answers_there_is_no_client(secured: Secured, configure: str, verb: str) -> None:
    with permitted(secured, configure, "^$", "^$"):
        error = await told(url(secured))
    assert re.search(
        f"the user ann lacks the permission to {verb} the queue amq.gen-.* in the virtual host farm", str(error)
    )
    assert error.lasting


@pytest.mark.usefixtures("vhost")
async def test_a_permission_that_is_refused_is_named(secured: Secured) -> None:
    command = genlock.command(genlock.DocumentPut(expected_generation=None, body={}), subject=new_id())
    lacks = "the user ann lacks the permission to"
    async with await aio_pika.connect(url(secured)) as connection:
        channel = await connection.channel()
        await channel.declare_exchange("genlock.events", aio_pika.ExchangeType.TOPIC, durable=True)
    with permitted(secured, "^amq", "^$", "^amq"):
        async with genlock.connect(url(secured), timeout_s=20) as client:
            with pytest.raises(
                genlock.Refused, match=f"{lacks} write to the exchange genlock.commands in the virtual host"
            ):
                await client.send(command)
            with pytest.raises(genlock.Refused, match=f"{lacks} write to the exchange genlock.reads"):
                await client.get("document", "x")
            with pytest.raises(genlock.Refused, match=f"{lacks} write to the queue amq.gen-"):
                async with client.events():
                    pass
            with pytest.raises(genlock.Refused, match=f"{lacks} configure the queue billing"):
                async with client.events(queue="billing"):
                    pass


@pytest.mark.usefixtures("vhost")
async def test_a_client_that_is_let_in_no_more_stops_asking(secured: Secured) -> None:
    def inquire(_query: str, _command_id: str) -> NoReturn:
        raise AssertionError("no command was sent")

    async with proxied(url(secured)) as proxy, connected(proxy.url, 60, 3, inquire, refused_max_s=0.5) as link:
        client = genlock.Client(link, "genlock", "/tests")
        await asyncio.to_thread(secured.rabbit.control, "change_password", "ann", "another")
        try:
            proxy.cut()
            for _ in range(2):
                with pytest.raises(genlock.ClientClosed, match="refuses the user ann"):
                    await client.get("document", "x")
        finally:
            await asyncio.to_thread(secured.rabbit.control, "change_password", "ann", SECRET)


@pytest.mark.usefixtures("vhost")
@pytest.mark.parametrize("arguments", [("serve",), ("lanes", "1"), ("dead", "list")], ids=" ".join)
async def test_permissions_of_the_service_are_named(
    secured: Secured, settings: Settings, arguments: tuple[str, ...]
) -> None:
    there = settings.model_copy(update={"amqp_url": SecretStr(url(secured))})
    with permitted(secured, "^$", ".*", ".*"):
        ran = await command_line.genlock(there, *arguments, GENLOCK_START_TIMEOUT_S="1", GENLOCK_HTTP_PORT="0")
    assert ran.code == 1
    assert re.search(
        rf"the user ann lacks (a|the) permission .*(exchange|queue) {settings.namespace}\..* virtual host farm .*"
        f"give the service's user permission to configure, .* whose names begin with {settings.namespace} and a dot",
        ran.err,
    ), ran.err
    assert "cannot be reached" not in ran.err
