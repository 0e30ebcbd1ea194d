"""Passwords: read from files at each connect, whatever characters they have; and told to nobody."""

import asyncio
import re
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGTERM

import asyncpg
import pytest
from pydantic import SecretStr

import genlock
from genlock import servers as servers_module
from genlock.schemas.documents import DocumentPut
from genlock.service.database.migrate import migrate
from genlock.service.settings import Settings
from tests.support import command_line
from tests.support.factories import new_id
from tests.support.harness import DEADLINE_S, serving, until
from tests.support.secured_servers import Secured

PASSWORD = """se?cr%41et/@:#&=+ ;'"\\ä{}"""  # noqa: S105 - of the test's own servers
"""Every character in it means something somewhere."""

NEXT = PASSWORD[::-1]


class Guarded:
    """Servers with a user each, and a file each with its password."""

    def __init__(self, secured: Secured, role: str, owner_url: str, folder: Path) -> None:
        self.secured, self.role, self.owner_url = secured, role, owner_url
        self.user = role
        self.files = {"database": folder / "database", "amqp": folder / "amqp"}

    async def set_passwords(self, password: str) -> None:
        """Change both, as an administrator does."""
        connection = await asyncpg.connect(self.secured.postgres.url)
        quoted = await connection.fetchval("SELECT quote_literal($1)", password)
        await connection.execute(f"ALTER ROLE {self.role} PASSWORD {quoted}")
        await connection.close()
        await asyncio.to_thread(self.secured.rabbit.control, "change_password", self.user, password)

    def write_files(self, password: str) -> None:
        """Change what stands in the files. An editor leaves a line break at the end."""
        for file in self.files.values():
            file.write_text(f"{password}\n")

    def database_url(self, password: str | None = None, **parameters: str) -> str:
        name = self.owner_url.rpartition("/")[2].partition("?")[0]
        return self.secured.database_url(self.role, name, password, **parameters)

    def amqp_url(self, password: str | None = None) -> str:
        return self.secured.amqp_url(self.user, password)

    async def cut_all(self) -> None:
        """End every connection of the service's."""
        connection = await asyncpg.connect(self.secured.postgres.url)
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", self.role)
        await connection.close()
        await asyncio.to_thread(self.secured.rabbit.control, "close_all_user_connections", self.user, "a test")


@pytest.fixture
async def guarded(secured: Secured, tmp_path: Path) -> AsyncIterator[Guarded]:
    admin_url, rabbit = secured.postgres.url, secured.rabbit
    async with servers_module.service_role(admin_url) as role, servers_module.database(admin_url) as owner_url:
        await migrate(owner_url, role.name)
        await asyncio.to_thread(rabbit.control, "add_user", role.name, "x")
        await asyncio.to_thread(rabbit.control, "set_permissions", role.name, ".*", ".*", ".*")
        guarded = Guarded(secured, role.name, owner_url, tmp_path)
        await guarded.set_passwords(PASSWORD)
        guarded.write_files(PASSWORD)
        yield guarded
        await asyncio.to_thread(rabbit.control, "delete_user", role.name)


@pytest.fixture
def settings(guarded: Guarded, namespace: str) -> Settings:
    """Return settings whose URLs have no password."""
    return Settings(
        database_url=SecretStr(guarded.database_url()),
        amqp_url=SecretStr(guarded.amqp_url()),
        database_password_file=str(guarded.files["database"]),
        amqp_password_file=str(guarded.files["amqp"]),
        namespace=namespace,
        retry_delay_max_s=0.2,
    )


def new() -> genlock.Command:
    return genlock.command(DocumentPut(expected_generation=None, body={}), subject=new_id())


async def test_passwords_are_read_from_their_files_and_read_again_after_they_were_changed(
    guarded: Guarded, settings: Settings
) -> None:
    url = f"{guarded.amqp_url()}?password_file={guarded.files['amqp']}"
    async with serving(settings) as service, genlock.connect(url, namespace=settings.namespace) as client:
        assert isinstance(await client.send(new()), genlock.Succeeded)
        for arguments in (("verify",), ("dead", "list"), ("get", "document", new_id())):
            ran = await command_line.genlock(settings, *arguments)
            assert "password" not in ran.err, ran.err
            assert ran.code == (1 if "get" in arguments else 0)
        await guarded.set_passwords(NEXT)
        await guarded.cut_all()

        async def is_out() -> bool:
            return not service.ready.is_set()

        await until(is_out)
        # Only now, so that the first tries are refused.
        guarded.write_files(NEXT)
        await asyncio.wait_for(service.ready.wait(), DEADLINE_S)
        assert isinstance(await client.send(new()), genlock.Succeeded)


async def test_a_url_with_a_password_of_its_own_keeps_it(guarded: Guarded, settings: Settings) -> None:
    guarded.write_files("another")
    urls = {
        "database_url": SecretStr(guarded.database_url(PASSWORD)),
        "amqp_url": SecretStr(guarded.amqp_url(PASSWORD)),
    }
    for arguments in (("verify",), ("lanes", "1")):
        ran = await command_line.genlock(settings.model_copy(update=urls), *arguments)
        assert ran.code == 0, ran.err


MARK = "XyZzY"
"""In every password of the following test, several times, since a part of it is too much."""

SECRET = f"{MARK}/{MARK}@{MARK}:{MARK}?{MARK}#{MARK}%{MARK}"

DIGITS = "4711"
"""The beginning of a password that could be read as a port."""


def tells(text: str) -> bool:
    """Whether a text has a part of the password; the digits count unless they are in a longer number, as of a time."""
    return MARK in text or re.search(rf"(?<!\d){DIGITS}(?!\d)", text) is not None


SERVED = {
    "neither is there",
    "database: wrong password",
    "database: a parameter that is none",
    "amqp: wrong password",
    "amqp: wrong virtual host",
    "amqp: not escaped",
    "amqp: a file that is none",
}
"""What a service is told that cannot start then. The others are as these are."""


def variables(guarded: Guarded) -> dict[str, dict[str, str]]:
    """What is wrong, and how the environment says it; the password has the mark in it."""
    good = {"GENLOCK_DATABASE_URL": guarded.database_url(SECRET), "GENLOCK_AMQP_URL": guarded.amqp_url(SECRET)}
    nowhere = {
        "GENLOCK_DATABASE_URL": f"postgresql://genlock:{MARK}@127.0.0.1:9/genlock",
        "GENLOCK_AMQP_URL": f"amqp://genlock:{MARK}@127.0.0.1:9/",
    }
    raw = f"genlock:{SECRET}@127.0.0.1:9/"
    digits = f"genlock:{DIGITS}/{MARK}@127.0.0.1:9/"
    cases = {"nothing": good, "neither is there": nowhere}
    for name, other in {
        "database": {
            "wrong password": guarded.database_url(f"{SECRET}!"),
            "not escaped": f"postgresql://{raw}",
            "digits first": f"postgresql://{digits}",
            "a port that is none": f"postgresql://genlock:{MARK}@127.0.0.1:{MARK}/genlock",
            "another scheme": f"mysql://genlock:{MARK}@127.0.0.1/genlock",
            "no scheme": MARK,
            "as parameters": f"postgresql://127.0.0.1:9/genlock?user=genlock&password={MARK}",
            "a parameter that is none": guarded.database_url(SECRET, sslmode="none"),
            "a bracket": f"postgresql://genlock:{MARK}@[::1/genlock",
            "escaped badly": f"postgresql://genlock:{MARK}%zz@127.0.0.1:9/genlock",
        },
        "amqp": {
            "wrong password": guarded.amqp_url(f"{SECRET}!"),
            "wrong virtual host": f"{guarded.amqp_url(SECRET)}nowhere",
            "not escaped": f"amqp://{raw}",
            "digits first": f"amqp://{digits}",
            "a port that is none": f"amqp://genlock:{MARK}@127.0.0.1:{MARK}/",
            "another scheme": f"http://genlock:{MARK}@127.0.0.1/",
            "no scheme": MARK,
            "a file that is none": f"{guarded.amqp_url(SECRET).replace('amqp:', 'amqps:')}?cafile=/nowhere",
            "a bracket": f"amqp://genlock:{MARK}@[::1/",
        },
    }.items():
        for what, url in other.items():
            cases[f"{name}: {what}"] = good | {f"GENLOCK_{name.upper()}_URL": url}
    return cases


ARGUMENTS = (
    ("settings",),
    ("verify",),
    ("dead", "list"),
    ("send", "document.put", "x"),
    ("migrate",),
    ("settings", "--json"),
    ("lanes", "1"),
)
"""A URL that is none is refused by all of them in the same way, so each case has one of them in turn, and `serve`."""

QUICK = {"GENLOCK_LOG_LEVEL": "debug", "GENLOCK_START_TIMEOUT_S": "0.3", "GENLOCK_HTTP_PORT": "0"}


async def served(settings: Settings, environment: dict[str, str], *, ready: bool) -> str:
    """All that a service says, which gets ready and is ended then, or cannot start."""
    process = await command_line.start(settings, "serve", **(QUICK | environment))
    lines = await command_line.lines_until(process, "ready") if ready else []
    if ready:
        process.send_signal(SIGTERM)
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    assert process.returncode == (0 if ready else 1)
    return f"{lines}{(out + err).decode()}"


async def test_no_password_is_told_whatever_goes_wrong(guarded: Guarded, settings: Settings) -> None:
    """By no command line and no service, down to its debugging log."""
    await guarded.set_passwords(SECRET)
    settings = settings.model_copy(update={"database_password_file": "", "amqp_password_file": ""})
    cases = variables(guarded)
    told: dict[str, str] = {}
    todo = iter(enumerate(cases))

    async def work() -> None:
        for number, case in todo:
            ran = await command_line.genlock(settings, *ARGUMENTS[number % len(ARGUMENTS)], **cases[case])
            assert len(ran.err.splitlines()) <= 1, ran.err
            told[case] = ran.out + ran.err
            if case in SERVED:
                told[f"serve: {case}"] = await served(settings, cases[case], ready=False)

    told["serving"] = await served(settings, cases["nothing"] | {"GENLOCK_START_TIMEOUT_S": "30"}, ready=True)
    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(work())
    assert len(told) == 1 + len(cases) + len(SERVED)
    assert {case: text for case, text in told.items() if tells(text)} == {}


async def test_no_traceback_of_the_client_tells_a_password(guarded: Guarded) -> None:
    await guarded.set_passwords(SECRET)
    told = {}
    for case, environment in variables(guarded).items():
        if case.startswith("amqp: ") or case == "neither is there":
            with pytest.raises(genlock.CannotConnect) as raised:
                async with genlock.connect(environment["GENLOCK_AMQP_URL"], timeout_s=DEADLINE_S):
                    pass
            told[case] = "".join(traceback.format_exception(raised.value))
    assert len(told) > 5
    assert {case: text for case, text in told.items() if tells(text)} == {}
