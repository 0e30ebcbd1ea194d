"""The servers that everything else is tried with: found, started, started again, and gone without a trace."""

import asyncio
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import asyncpg
import pytest

from genlock.servers import LocalPostgres, LocalRabbit, Servers, ServersUnavailable, choice, database, running
from genlock.servers.ports import give_port_back, take_port
from genlock.servers.probes import ask_postgres, ask_rabbit, await_answer
from genlock.servers.programs import Programs
from tests.support.harness import until

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc"),
]

# How long processes that were told to end may take, in seconds.
GONE_TIMEOUT_S = 20

# Says on one line of JSON that its servers answer, and waits to be killed.
HOLD_SERVERS = """
import json, signal
from genlock.servers import LocalPostgres, LocalRabbit
with LocalRabbit() as rabbit, LocalPostgres() as postgres:
    print(json.dumps(["ready"]), flush=True)
    signal.pause()
"""

# Says where its servers are, on one line of JSON, and ends at the first SIGINT with a status of its own.
SHOW_ENVIRONMENT = """
import json, os, signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(7))
print(json.dumps([os.environ["GENLOCK_DATABASE_URL"], os.environ["GENLOCK_AMQP_URL"]]), flush=True)
signal.pause()
"""

# Takes the port that it is told, and exits with 0 if it could.
TAKE_PORT = """
import sys
from genlock.servers import ports
sys.exit(not ports._mark(int(sys.argv[1])))
"""

THE_COMMAND = ("-m", "genlock.servers", sys.executable, "-c", SHOW_ENVIRONMENT)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for temporary files that, other than pytest's own, every user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def descendants(ancestor: int) -> list[int]:
    """Ids of the processes that a process has started, and those that these have started, and so on."""
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name is in parentheses and may hold anything; after it come the state and the parent.
            parent = file.read_text().rpartition(")")[2].split(maxsplit=2)[1]
            children.setdefault(int(parent), []).append(int(file.parts[2]))
    found = list(children.get(ancestor, []))
    for process in found:
        found.extend(children.get(process, []))
    return found


def await_gone(processes: Sequence[int]) -> None:
    """Wait until processes have ended; fails if one has not in time."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for process in processes:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(process)
                stack.callback(os.close, descriptor)
                selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ended = selector.select(GONE_TIMEOUT_S)
            assert ended, f"still there: {processes}"
            for key, _ in ended:
                selector.unregister(key.fd)


@contextmanager
def python(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run Python until its first line of output, which is a JSON list; in the end it is killed if it still runs."""
    with subprocess.Popen(  # noqa: S603 - this Python and words of this file
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


async def database_names(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        return {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
    finally:
        await connection.close()


def name_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


async def test_killed_and_stopped_postgres_starts_again_with_its_data(programs: Programs) -> None:
    with LocalPostgres(programs, ["shared_buffers=2MB"]) as postgres:
        url = postgres.url
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW max_connections") == "200"
        assert await connection.fetchval("SHOW shared_buffers") == "2MB"

        postgres.kill()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.fetchval("SELECT 1")
        assert postgres.start() == ask_postgres(url)
        connection = await asyncpg.connect(url)
        await connection.execute("INSERT INTO kept VALUES (2)")
        await connection.close()

        postgres.stop()
        assert postgres.start() == ask_postgres(url)
        assert postgres.url == url
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT sum(number) FROM kept") == 3
        await connection.close()


async def test_stopped_and_killed_rabbit_starts_again_with_its_messages(programs: Programs, namespace: str) -> None:
    with LocalRabbit(programs) as rabbit:
        url = rabbit.url
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            await channel.declare_exchange(f"{namespace}.lanes", "x-consistent-hash")
            await channel.declare_queue(namespace, durable=True, arguments={"x-queue-type": "quorum"})

        # Stopped first: RabbitMQ 3.10 writes the register of its quorum queues to disk every three seconds, and a queue
        # that was declared since and then killed never gets a leader again.
        rabbit.stop()
        with pytest.raises(ConnectionRefusedError):
            ask_rabbit(url)
        assert rabbit.start() == ask_rabbit(url)
        assert rabbit.url == url
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel(publisher_confirms=True)
            message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, namespace)

        rabbit.kill()
        rabbit.start()
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            kept = await (await channel.get_queue(namespace)).get(timeout=30)
            assert kept.body == b"kept"
            await kept.ack()


@pytest.mark.usefixtures("programs")
def test_servers_end_with_a_parent_that_is_killed(place: Path) -> None:
    with python("-c", HOLD_SERVERS, TMPDIR=str(place)) as (parent, _):
        processes = descendants(parent.pid)
        # At least epmd, RabbitMQ, PostgreSQL and its helpers; never with root's rights, though the tests may have them.
        assert len(processes) > 3
        assert all(Path(f"/proc/{process}").stat().st_uid != 0 for process in processes)
        parent.kill()
        parent.wait()
        await_gone(processes)


@pytest.mark.usefixtures("programs")
def test_interrupt_reaches_the_command_and_leaves_nothing(place: Path) -> None:
    # The variables of given servers point nowhere: the forced kind must not look at them.
    environment = {
        "TMPDIR": str(place),
        "GENLOCK_SERVERS": "local",
        "GENLOCK_DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "GENLOCK_AMQP_URL": "amqp://127.0.0.1:1/",
    }
    with python(*THE_COMMAND, **environment) as (parent, (database_url, amqp_url)):
        assert name_of(database_url).startswith("genlock_")
        assert ask_postgres(database_url)
        assert ask_rabbit(amqp_url)
        processes = descendants(parent.pid)
        assert len(processes) > 3
        parent.send_signal(signal.SIGINT)
        assert parent.wait(GONE_TIMEOUT_S) == 7
        await_gone(processes)
    assert not list(place.iterdir())


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_impatient_user_leaves_nothing_either(place: Path, number: signal.Signals) -> None:
    """One signal after another comes while the servers are being ended and removed."""
    with python(*THE_COMMAND, TMPDIR=str(place), GENLOCK_SERVERS="local") as (parent, _):
        processes = descendants(parent.pid)
        parent.send_signal(signal.SIGINT)
        while parent.poll() is None:
            parent.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                parent.wait(0.05)
        await_gone(processes)
    assert not list(place.iterdir())


async def test_given_servers_get_a_database_and_lose_it_again(servers: Servers) -> None:
    environment = {"GENLOCK_DATABASE_URL": servers.database_url, "GENLOCK_AMQP_URL": servers.amqp_url}
    before = await database_names(servers.database_url)
    with python(*THE_COMMAND, GENLOCK_SERVERS="", **environment) as (parent, (database_url, amqp_url)):
        assert name_of(database_url) in await database_names(servers.database_url) - before
        assert amqp_url == servers.amqp_url
        # A connection that was forgotten does not keep the database.
        forgotten = await asyncpg.connect(database_url)
        parent.send_signal(signal.SIGINT)
        assert parent.wait(GONE_TIMEOUT_S) == 7
        forgotten.terminate()
    assert name_of(database_url) not in await database_names(servers.database_url)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_demo_that_is_ended_removes_what_it_made_and_says_nothing(
    servers: Servers, number: signal.Signals
) -> None:
    """The signal comes while the database is being made, or right after."""
    before = await database_names(servers.database_url)
    environment = {
        "GENLOCK_SERVERS": "given",
        "GENLOCK_DATABASE_URL": servers.database_url,
        "GENLOCK_AMQP_URL": servers.amqp_url,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "genlock.cli", "demo"),
        env={**os.environ, **environment},
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )

    async def has_database() -> bool:
        return bool(await database_names(servers.database_url) - before)

    await until(has_database)
    process.send_signal(number)
    _, said = await process.communicate()
    assert process.returncode == 128 + number
    assert [line for line in said.decode().splitlines() if not line.startswith("servers: given")] == []
    assert await database_names(servers.database_url) == before


async def test_database_is_a_copy_of_its_template(servers: Servers) -> None:
    async with database(servers.database_url) as original:
        connection = await asyncpg.connect(original)
        await connection.execute("CREATE TABLE copied AS SELECT 1 AS number")
        await connection.close()
        async with database(servers.database_url, template=name_of(original)) as copy:
            connection = await asyncpg.connect(copy)
            assert await connection.fetchval("SELECT number FROM copied") == 1
            await connection.close()


def test_running_uses_given_servers(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENLOCK_SERVERS", "given")
    monkeypatch.setenv("GENLOCK_DATABASE_URL", servers.database_url)
    monkeypatch.setenv("GENLOCK_AMQP_URL", servers.amqp_url)
    with running() as found:
        assert found == Servers(servers.database_url, servers.amqp_url, "given")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"GENLOCK_SERVERS": "cloud"}, "GENLOCK_SERVERS is 'cloud', but may be given, docker or local."),
        ({"GENLOCK_SERVERS": "given"}, "set both GENLOCK_DATABASE_URL and GENLOCK_AMQP_URL"),
        ({"GENLOCK_AMQP_URL": "amqp://127.0.0.1:1/"}, "set both GENLOCK_DATABASE_URL and GENLOCK_AMQP_URL"),
        ({"GENLOCK_SERVERS": "docker", "DOCKER_HOST": "unix:///dev/null/none"}, "No Docker engine answers."),
    ],
)
def test_what_cannot_be_had_is_said_in_a_sentence(
    environment: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GENLOCK_SERVERS", "GENLOCK_DATABASE_URL", "GENLOCK_AMQP_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ServersUnavailable, match=sentence), running():
        pass


def test_missing_programs_are_named_in_a_sentence(tmp_path: Path) -> None:
    sentence = r"^Not found: postgres, rabbitmq-server, epmd; install .*, or set .*\.$"
    with pytest.raises(ServersUnavailable, match=sentence):
        Programs.find(path=str(tmp_path), debian=tmp_path)


def test_newest_postgres_of_debian_is_taken(tmp_path: Path) -> None:
    names = ("postgresql/9.6/bin/postgres", "postgresql/17/bin/postgres", "rabbitmq/bin/rabbitmq-server", "epmd")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch(mode=0o755)
    assert Programs.find(path=str(tmp_path), debian=tmp_path) == Programs(*(tmp_path / name for name in names[1:]))


def test_silent_server_is_given_up_with_its_address_and_without_its_password() -> None:
    with pytest.raises(ServersUnavailable, match=r"^PostgreSQL at 127\.0\.0\.1:1 did not answer within 0 s: .*\.$"):
        await_answer("PostgreSQL", ask_postgres, "postgresql://user:secret@127.0.0.1:1/none", timeout_s=0)


@pytest.mark.parametrize(("version", "enough"), [("3.9.13", False), ("3.10.0", True), ("4.0.5", True)])
def test_servers_that_are_too_old_are_refused(version: str, *, enough: bool) -> None:
    with nullcontext() if enough else pytest.raises(ServersUnavailable, match=f"RabbitMQ {version} is too old"):
        choice._require("RabbitMQ", version, choice.RABBIT_MIN)


def test_port_of_a_server_is_not_handed_out_again_before_it_is_given_back() -> None:
    """Though no server listens there, as while a server is down that will be started again."""
    port = take_port()

    def is_free_for_others() -> bool:
        done = subprocess.run([sys.executable, "-c", TAKE_PORT, str(port)], check=False)  # noqa: S603 - words of this file
        return done.returncode == 0

    while_it_is_ours = is_free_for_others()
    give_port_back(port)
    assert (while_it_is_ours, is_free_for_others()) == (False, True)
