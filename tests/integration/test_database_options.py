"""Options in PostgreSQL's URL, on a real server: those that act, settings of the server, and others."""

import asyncio
import secrets
import socket
from collections.abc import Callable
from time import monotonic
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from genlock.service.database.connecting import RefusedSettingError, connect
from genlock.service.database.postgres_urls import KEEP_ALIVE
from genlock.service.database.transactions import open_pool
from tests.support.proxy import joined, proxied

NOTICED_S = 25

WithOptions = Callable[[str], str]

SPECIAL = "@/#?%:;,[&=+]%40 '\"\\ä"


@pytest.fixture
def with_options(database_url: str) -> WithOptions:
    return lambda options: f"{database_url}{'&' if '?' in database_url else '?'}{options}"


async def shown(url: str, setting: str) -> str:
    """A setting of the server, as a pool's connection has it."""
    async with await open_pool(url, size=1, timeout_s=5.0) as pool:
        return str(await pool.fetchval("SELECT current_setting($1)", setting))


async def test_server_finds_out_that_a_client_is_gone_which_would_keep_its_locks(database_url: str) -> None:
    """Also one that vanishes between two messages of a statement, where no time-out of PostgreSQL runs."""
    idle, interval, count = [
        int(await shown(database_url, f"tcp_keepalives_{what}")) for what in ("idle", "interval", "count")
    ]
    assert 0 < idle + interval * count <= NOTICED_S
    assert await shown(database_url, "tcp_user_timeout") == f"{NOTICED_S}000"


@pytest.mark.parametrize(
    ("options", "setting", "value"),
    [
        ("statement_timeout=7s", "statement_timeout", "7s"),
        ("search_path=somewhere,public", "search_path", "somewhere,public"),
        ("my.own=1", "my.own", "1"),
        ("options=-c%20statement_timeout=8s%20-c%20my.own=2", "statement_timeout", "8s"),
        ("application_name=mine", "application_name", "mine"),
        ("fallback_application_name=mine", "application_name", "mine"),
        ("connect_timeout=9", "application_name", "genlock"),
        ("channel_binding=prefer&gssencmode=prefer&client_encoding=utf8", "client_encoding", "UTF8"),
        # What the service relies on is not the URL's to say.
        ("synchronous_commit=off&options=-c%20synchronous_commit=off", "synchronous_commit", "on"),
    ],
)
async def test_settings_of_the_server_reach_it_and_options_of_clients_do_not(
    with_options: WithOptions, options: str, setting: str, value: str
) -> None:
    assert await shown(with_options(options), setting) == value


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            "conect_timeout=5",
            r"conect_timeout in .* is neither an option nor a setting .* \(did you mean connect_timeout\?\)$",
        ),
        ("statment_timeout=5", "statment_timeout in .* is neither an option nor a setting of this server$"),
        ("no_such_thing=5", "no_such_thing in .* is neither an option nor a setting of this server"),
        ("statement_timeout=soon", "it does not take its setting statement_timeout"),
        ("shared_buffers=1GB", "it does not take its setting shared_buffers"),
    ],
)
async def test_setting_that_the_server_refuses_is_named(with_options: WithOptions, options: str, why: str) -> None:
    with pytest.raises(RefusedSettingError, match=f"^{why}"):
        await connect(with_options(options))


async def test_silent_host_is_left_after_the_connect_timeout(with_options: WithOptions) -> None:
    async with proxied(with_options("connect_timeout=1")) as one, proxied(one.url) as other:
        one.stall()
        began = monotonic()
        with pytest.raises(TimeoutError):
            await connect(joined(one.url, other.url))
        # Two tries, each of which would have five seconds.
        assert monotonic() - began < 5


async def test_options_of_the_connection_reach_its_socket(with_options: WithOptions) -> None:
    url = with_options("keepalives_idle=77&keepalives_interval=0&tcp_user_timeout=9000")
    connection = await connect(url)
    opened = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # the stubs leave it out
    names = ("TCP_KEEPIDLE", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    found = [opened.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
    await connection.close()
    assert found == [77, KEEP_ALIVE["keepalives_count"], 9000]
    connection = await connect(f"{url}&keepalives=0")
    opened = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # likewise
    assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    await connection.close()


async def test_hosts_at_random_are_all_of_them(with_options: WithOptions) -> None:
    async with proxied(with_options("load_balance_hosts=random")) as one, proxied(with_options("")) as other:
        url = joined(one.url, other.url)
        ports: set[int] = set()
        async with asyncio.timeout(60):
            while len(ports) < 2:
                connection = await connect(url)
                ports.add(connection._addr[1])  # type: ignore[attr-defined]  # likewise
                await connection.close()


async def test_standby_is_preferred_and_the_primary_taken_where_there_is_none(with_options: WithOptions) -> None:
    connection = await connect(with_options("target_session_attrs=prefer-standby"))
    assert await connection.fetchval("SELECT NOT pg_is_in_recovery()")
    await connection.close()
    with pytest.raises(ConnectionError, match="no host is what target_session_attrs=standby wants"):
        await connect(with_options("target_session_attrs=standby"))


async def test_role_and_password_with_special_characters_log_in_where_they_are_encoded(
    database_url: str, owner_url: str
) -> None:
    # asyncpg writes the role's name into a list with commas, so that none with a comma can log in by SCRAM.
    name, password = f"{secrets.token_hex(4)}{SPECIAL.replace(',', '')}", SPECIAL
    administrator = await asyncpg.connect(owner_url)
    quoted = await administrator.fetchrow("SELECT quote_ident($1), quote_literal($2)", name, password)
    assert quoted is not None
    await administrator.execute("CREATE ROLE {} LOGIN PASSWORD {}".format(*quoted))
    parts, coded = urlsplit(database_url), [quote(part, safe="") for part in (name, password)]
    try:
        at = f"{':'.join(coded)}@{parts.netloc.rpartition('@')[2]}"
        connection = await connect(parts._replace(netloc=at).geturl())
        assert await connection.fetchval("SELECT current_user") == name
        await connection.close()
    finally:
        await administrator.execute(f"DROP ROLE {quoted[0]}")
        await administrator.close()
