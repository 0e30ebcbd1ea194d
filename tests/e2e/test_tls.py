"""TLS to both servers, with certificates on either side; a faulty set-up is refused, with a clear message."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from pydantic import SecretStr

import genlock
from genlock import servers as servers_module
from genlock.consumers.amqp.session import open_session
from genlock.consumers.process.serve import Service
from genlock.consumers.process.starting import StartError
from genlock.schemas.documents import DocumentPut
from genlock.service.database.migrate import migrate
from genlock.service.settings import Settings
from tests.support import command_line
from tests.support.documents import creating
from tests.support.factories import new_id
from tests.support.harness import serving
from tests.support.secured_servers import NAME, USER, Secured


@dataclass(frozen=True)
class Tls:
    """The URLs by which both servers are reached."""

    database: str
    amqp: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tls(secured: Secured) -> AsyncIterator[Tls]:
    files = secured.certificates
    admin_url = secured.postgres.url
    async with servers_module.service_role(admin_url) as role, servers_module.database(admin_url) as owner_url:
        await migrate(owner_url, role.name)
        database = secured.database_url(
            role.name,
            owner_url.rpartition("/")[2].partition("?")[0],
            role.password,
            sslmode="verify-full",
            sslrootcert=str(files.authority),
            sslcert=str(files.certificate),
            sslkey=str(files.key),
        )
        client = {"cafile": str(files.authority), "certfile": str(files.certificate), "keyfile": str(files.key)}
        yield Tls(database, secured.amqps_url("guest", "guest", **client))


@pytest.fixture
def over_tls(tls: Tls, namespace: str) -> Settings:
    return Settings(
        database_url=SecretStr(tls.database), amqp_url=SecretStr(tls.amqp), namespace=namespace, start_timeout_s=0.5
    )


async def test_service_client_and_command_line_work_over_tls(over_tls: Settings, tls: Tls) -> None:
    settings = over_tls.model_copy(update={"start_timeout_s": 30.0})
    put = genlock.command(DocumentPut(expected_generation=None, body={}), subject=new_id())
    async with serving(settings):
        async with genlock.connect(tls.amqp, namespace=settings.namespace) as client:
            assert isinstance(await client.send(put), genlock.Succeeded)
        got = await command_line.genlock(settings, "get", "document", put.subject or "")
        assert (got.code, got.rows[0]["generation"]) == (0, 0)
    for arguments in (("verify",), ("dead", "list"), ("lanes", "1")):
        ran = await command_line.genlock(settings, *arguments)
        assert ran.code == 0, ran.err


def without_user(url: str) -> str:
    """The URL without its user and password."""
    return re.sub("//.*@", "//", url)


async def test_a_certificate_is_login_enough_where_the_servers_take_it_for_one(
    over_tls: Settings, secured: Secured, tls: Tls
) -> None:
    """The name in the certificate is the administrator's in PostgreSQL, and here that of a user without a password."""
    database = without_user(tls.database).replace("//", f"//{USER}@")
    amqp = f"{without_user(tls.amqp)}&auth=external"
    settings = over_tls.model_copy(update={"database_url": SecretStr(database), "amqp_url": SecretStr(amqp)})
    with pytest.raises(StartError, match="Login was refused using authentication mechanism EXTERNAL"):
        await Service(settings).run()
    for words in (("add_user", USER, "x"), ("clear_password", USER), ("set_permissions", USER, ".*", ".*", ".*")):
        await asyncio.to_thread(secured.rabbit.control, *words)
    put = genlock.command(DocumentPut(expected_generation=None, body={}), subject=new_id())
    async with (
        serving(settings.model_copy(update={"start_timeout_s": 30.0})),
        genlock.connect(amqp, namespace=settings.namespace) as client,
    ):
        # Neither URL has the name in it: the broker has told it.
        outcomes = [await client.send(put), *await asyncio.gather(*(client.send(creating()) for _ in range(20)))]
    assert [(type(outcome), outcome.user) for outcome in outcomes] == [(genlock.Succeeded, USER)] * 21
    async with open_session(settings, declare=False) as session:
        assert session.user == USER
    await asyncio.to_thread(secured.rabbit.control, "delete_user", USER)
    with pytest.raises(genlock.CannotConnect, match="offers no login by auth=external, but by AMQPLAIN PLAIN"):
        async with genlock.connect(f"{without_user(secured.amqp_url('x'))}?auth=external"):
            pass


def spoiled(url: str, secured: Secured, fault: str) -> str:
    """The URL with a fault in it."""
    files = secured.certificates
    if fault == "another host name":
        return url.replace(f"@{NAME}:", "@127.0.0.1:")
    if fault == "another authority":
        return url.replace(files.authority.name, files.stranger.name)
    kept = [part for part in url.split("&") if not part.startswith(("sslcert=", "sslkey=", "certfile=", "keyfile="))]
    return "&".join(kept)


FAULTS = {
    "another host name": "IP address mismatch, certificate is not valid for '127.0.0.1'",
    "another authority": "certificate verify failed",
    "no certificate of the client's": "certificate required|requires a valid client certificate",
}


@pytest.mark.parametrize("server", ["database", "amqp"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_faulty_setup_is_refused_with_the_reason(
    over_tls: Settings, secured: Secured, tls: Tls, server: str, fault: str
) -> None:
    url = spoiled(getattr(tls, server), secured, fault)
    settings = over_tls.model_copy(update={f"{server}_url": SecretStr(url)})
    with pytest.raises(StartError, match=FAULTS[fault]):
        await Service(settings).run()
    ran = await command_line.genlock(settings, *{"database": ("verify",), "amqp": ("get", "document", "x")}[server])
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1, ran.err
    assert re.search(FAULTS[fault], ran.err), ran.err
    if server == "amqp":
        with pytest.raises(genlock.CannotConnect, match=FAULTS[fault]):
            async with genlock.connect(url):
                pass
