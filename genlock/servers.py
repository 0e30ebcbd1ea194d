"""PostgreSQL and RabbitMQ for the demo and the tests: given, through Docker, or private ones on this machine.

They are looked for in that order; GENLOCK_SERVERS=given, docker or local forces one.

    python -m genlock.servers COMMAND [ARG…]

runs a command with GENLOCK_DATABASE_URL and GENLOCK_AMQP_URL pointing to such servers and a database of its own.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from genlock import _broker_urls
from genlock._urls import InvalidUrl, elsewhere
from genlock.servers_asking import READY_TIMEOUT_S, ask_postgres, ask_rabbit, await_answer
from genlock.servers_local import LocalPostgres, LocalRabbit
from genlock.servers_programs import Programs, ServersUnavailable
from genlock.servers_signals import run_to_end, signals_passed_over, start, unwind_at_signals
from genlock.service.database import postgres_urls
from genlock.service.database.connecting import connect

__all__ = [
    "LocalPostgres",
    "LocalRabbit",
    "Role",
    "Servers",
    "ServersUnavailable",
    "database",
    "make_role",
    "prepare",
    "run_to_end",
    "running",
    "service_role",
    "start",
    "unwind_at_signals",
]

POSTGRES_MIN = (15,)
RABBIT_MIN = (3, 10)

_POSTGRES_IMAGE = "postgres:17"
_RABBIT_IMAGE = "rabbitmq:4-management"
_RABBIT_PLUGINS = b"[rabbitmq_consistent_hash_exchange,rabbitmq_management]."

# Servers that were given are expected to run already.
_GIVEN_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Servers:
    """Where the servers are; the database URL is an administrator's, who may create databases."""

    database_url: str
    amqp_url: str
    how: Literal["given", "docker", "local"]


class _Found(NamedTuple):
    servers: Servers
    postgres_version: str
    rabbit_version: str


class _NoDocker(ServersUnavailable):
    """There is no Docker to speak of, which is no news to the user."""


@contextmanager
def running(postgres_options: Sequence[str] = ()) -> Iterator[Servers]:
    """Find or start the servers for the time of the context, and say so on stderr. Only in the main thread.

    A PostgreSQL that is started gets the options, such as `shared_buffers=1GB`; one that was given stays as it is.
    Raises ServersUnavailable.
    """
    began = time.monotonic()
    stack = ExitStack()
    try:
        servers, postgres, rabbit = _find(stack, postgres_options)
        _require("PostgreSQL", postgres, POSTGRES_MIN)
        _require("RabbitMQ", rabbit, RABBIT_MIN)
        verb = "reached" if servers.how == "given" else "started"
        took_s = time.monotonic() - began
        _say(f"{servers.how}, PostgreSQL {postgres} and RabbitMQ {rabbit}, {verb} in {took_s:.1f} s")
        yield servers
    finally:
        with signals_passed_over():
            stack.close()


def prepare() -> None:
    """Have everything that `running` may need, without starting it. Raises ServersUnavailable."""
    way = os.environ.get("GENLOCK_SERVERS")
    given = os.environ.get("GENLOCK_DATABASE_URL") or os.environ.get("GENLOCK_AMQP_URL")
    if way == "local" or (not way and not given and not _docker_answers()):
        Programs.have()


@asynccontextmanager
async def database(admin_url: str, template: str | None = None) -> AsyncIterator[str]:
    """Create a database with a random name, from a template database if one is named, and drop it in the end.

    Yields its URL. Raises what asyncpg raises.
    """
    name = f"genlock_{secrets.token_hex(8)}"
    source = f' TEMPLATE "{template}"' if template else ""
    try:
        # Within, because it may be there although this was cancelled before it was told so.
        await _execute(admin_url, f'CREATE DATABASE "{name}"{source}')
        yield elsewhere(admin_url, postgres_urls.KIND, name=name)
    finally:
        await _execute(admin_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@dataclass(frozen=True, slots=True)
class Role:
    """A role of PostgreSQL that may log in, and do what is granted to it."""

    name: str
    password: str

    def at(self, url: str) -> str:
        """The same URL for this role."""
        return elsewhere(url, postgres_urls.KIND, login=(self.name, self.password))


async def make_role(admin_url: str) -> Role:
    """Create a role with a random name. Raises what asyncpg raises."""
    role = _new_role()
    await _create(admin_url, role)
    return role


def _new_role() -> Role:
    return Role(f"genlock_{secrets.token_hex(8)}", secrets.token_hex(16))


async def _create(admin_url: str, role: Role) -> None:
    await _execute(admin_url, f"CREATE ROLE {role.name} LOGIN PASSWORD '{role.password}'")


@asynccontextmanager
async def service_role(admin_url: str) -> AsyncIterator[Role]:
    """Create a role with a random name, for `migrate` to grant it what the service needs, and drop it in the end.

    The databases in which something was granted to it have to be dropped before.
    """
    role = _new_role()
    try:
        await _create(admin_url, role)
        yield role
    finally:
        await _execute(admin_url, f"DROP ROLE IF EXISTS {role.name}")


async def _execute(url: str, statement: str) -> None:
    connection = await connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _find(stack: ExitStack, postgres_options: Sequence[str]) -> _Found:
    """Choose a way by the environment and take it; what it starts goes onto the stack."""
    ways: dict[str, Callable[[ExitStack], _Found]] = {
        "given": _given,
        "docker": partial(_docker, postgres_options),
        "local": partial(_local, postgres_options),
    }
    forced = os.environ.get("GENLOCK_SERVERS")
    if forced:
        if forced not in ways:
            raise ServersUnavailable(f"GENLOCK_SERVERS is {forced!r}, but may be given, docker or local.")
        return ways[forced](stack)
    if os.environ.get("GENLOCK_DATABASE_URL") or os.environ.get("GENLOCK_AMQP_URL"):
        return _given(stack)
    try:
        # What was started before something failed has to end before the next way is tried.
        with ExitStack() as attempt:
            found = ways["docker"](attempt)
            stack.push(attempt.pop_all())
            return found
    except _NoDocker:
        pass
    except ServersUnavailable as error:
        _say(f"Docker is passed over: {error}")
    return ways["local"](stack)


def _given(_: ExitStack) -> _Found:
    database_url = os.environ.get("GENLOCK_DATABASE_URL")
    amqp_url = os.environ.get("GENLOCK_AMQP_URL")
    if not database_url or not amqp_url:
        raise ServersUnavailable("To use given servers, set both GENLOCK_DATABASE_URL and GENLOCK_AMQP_URL.")
    for name, url, read in (
        ("GENLOCK_DATABASE_URL", database_url, postgres_urls.read),
        ("GENLOCK_AMQP_URL", amqp_url, _broker_urls.read),
    ):
        try:
            read(url)
        except InvalidUrl as error:
            raise ServersUnavailable(f"The setting {name} is not valid: {error}.") from None
    return _ask(Servers(database_url, amqp_url, "given"), timeout_s=_GIVEN_TIMEOUT_S)


def _ask(servers: Servers, *, timeout_s: float) -> _Found:
    postgres = await_answer("PostgreSQL", ask_postgres, servers.database_url, timeout_s=timeout_s)
    rabbit = await_answer("RabbitMQ", ask_rabbit, servers.amqp_url, timeout_s=timeout_s)
    return _Found(servers, postgres, rabbit)


def _docker(postgres_options: Sequence[str], stack: ExitStack) -> _Found:
    # These come with an extra that most users do not have, and take a moment to import.
    try:
        from docker.errors import DockerException  # type: ignore[import-untyped]  # noqa: PLC0415
        from testcontainers.core.config import ConnectionMode, testcontainers_config  # noqa: PLC0415
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    except ImportError as error:
        raise _NoDocker("Docker is used through testcontainers; install genlock[docker].") from error
    if not _docker_answers():
        raise _NoDocker("No Docker engine answers.")
    # The ports are published on the engine's host, also where this process runs in a container itself; and the
    # reaper is an image of its own, which cannot be had everywhere.
    testcontainers_config.connection_mode_override = ConnectionMode.docker_host
    testcontainers_config.ryuk_disabled = True
    password = secrets.token_hex(8)
    try:
        postgres = DockerContainer(_POSTGRES_IMAGE)
        stack.callback(postgres.stop)
        rabbit = DockerContainer(_RABBIT_IMAGE)
        stack.callback(rabbit.stop)
    except DockerException as error:
        raise _NoDocker("No Docker engine answers.") from error
    options = [word for option in ("max_connections=200", *postgres_options) for word in ("-c", option)]
    postgres.with_env("POSTGRES_PASSWORD", password).with_command(["postgres", *options])
    rabbit.with_copy_into_container(_RABBIT_PLUGINS, "/etc/rabbitmq/enabled_plugins", 0o644)
    try:
        for container, port in ((rabbit, 5672), (postgres, 5432)):
            _have_image(container.get_docker_client().client, container.image)
            container.with_exposed_ports(port)
            # In a thread, because Ctrl-C in the middle of it would leave a container that nobody knows.
            with ThreadPoolExecutor(max_workers=1) as pool:
                pool.submit(container.start).result()
        database_at = f"{postgres.get_container_host_ip()}:{postgres.get_exposed_port(5432)}"
        amqp_at = f"{rabbit.get_container_host_ip()}:{rabbit.get_exposed_port(5672)}"
    except (DockerException, OSError) as error:
        raise ServersUnavailable(f"Docker cannot run {_POSTGRES_IMAGE} and {_RABBIT_IMAGE}: {error}") from error
    database_url = f"postgresql://postgres:{password}@{database_at}/postgres?sslmode=disable"
    return _ask(Servers(database_url, f"amqp://guest:guest@{amqp_at}/", "docker"), timeout_s=READY_TIMEOUT_S)


def _docker_answers() -> bool:
    """Say whether something listens on an engine's Unix socket; Docker's client would leave its own open if not."""
    try:
        from testcontainers.core.docker_client import get_docker_host  # noqa: PLC0415 - as in _docker
    except ImportError:
        return False
    host = get_docker_host() or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(host.removeprefix("unix://")) == 0


def _have_image(client: Any, image: str) -> None:
    """Pull an image unless the engine has it. Raises DockerException."""
    if not client.images.list(name=image):
        _say(f"pulling {image}")
        client.images.pull(image)


def _local(postgres_options: Sequence[str], stack: ExitStack) -> _Found:
    programs = Programs.have()
    rabbit = stack.enter_context(closing(LocalRabbit(programs)))
    postgres = stack.enter_context(closing(LocalPostgres(programs, postgres_options)))
    # The broker first, because it takes the longest; PostgreSQL gets ready meanwhile.
    rabbit.launch()
    postgres_version = postgres.start()
    return _Found(Servers(postgres.url, rabbit.url, "local"), postgres_version, rabbit.wait_ready())


def _require(name: str, version: str, minimum: tuple[int, ...]) -> None:
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[: len(minimum)])
    if numbers < minimum:
        raise ServersUnavailable(f"{name} {version} is too old: {'.'.join(map(str, minimum))} or later is needed.")


def _say(text: str) -> None:
    sys.stderr.write(f"servers: {text}\n")


async def _run(command: Sequence[str], servers: Servers) -> int:
    """Run a command with a database of its own and return its exit status."""
    async with database(servers.database_url) as url:
        child = await start(command, {"GENLOCK_DATABASE_URL": url, "GENLOCK_AMQP_URL": servers.amqp_url})
        return await child.wait()


def main(command: Sequence[str]) -> int:
    """Run a command against servers and return the exit status that a shell would give it."""
    if not command or shutil.which(command[0]) is None:
        sys.stderr.write("usage: python -m genlock.servers COMMAND [ARG…]\n")
        return 2
    unwind_at_signals()
    try:
        with running() as servers:
            status = run_to_end(_run(command, servers))
    except ServersUnavailable as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
