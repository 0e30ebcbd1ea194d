"""`make run`: PostgreSQL, RabbitMQ and the service for trying things out, until Ctrl-C.

    python -m genlock.quickstart

Once the service is ready this prints lines to paste into another terminal. The service logs only warnings and errors,
so that these lines stay visible; GENLOCK_LOG_LEVEL=info shows the rest.
"""

import asyncio
import os
import shlex
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp

from genlock import servers
from genlock.cli.failure import Failure, load_settings
from genlock.demo.deployment import own_namespace
from genlock.servers.ports import give_port_back, take_port
from genlock.service.database.migrate import SchemaError, migrate
from genlock.service.database.poolers import PoolerError
from genlock.service.settings import Settings

DEFAULT_NAMESPACE = Settings.model_fields["namespace"].default
DEFAULT_LANES = Settings.model_fields["lanes"].default
FIRST_DATA = '{"expected_generation": null, "body": {"owner": "team-a"}}'

_POLL_S = 0.1


def main() -> int:
    """Serve until a signal and return the exit status, 0 if the service has settled what it held."""
    servers.unwind_at_signals()
    # Not the port of the settings: another service may have it, and would answer in place of this one.
    port = take_port()
    try:
        with servers.running() as running:
            return servers.run_to_end(_serve(running, port))
    except (servers.ServersUnavailable, Failure, SchemaError, PoolerError) as error:
        sys.stderr.write(f"genlock: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        give_port_back(port)


async def _serve(running: servers.Servers, port: int) -> int:
    settings = load_settings(amqp_url=running.amqp_url, database_url=running.database_url)
    async with servers.database(running.database_url) as database_url, _namespace(running, settings) as namespace:
        await migrate(database_url)
        found = {"GENLOCK_AMQP_URL": running.amqp_url, "GENLOCK_DATABASE_URL": database_url}
        if namespace != DEFAULT_NAMESPACE:
            found["GENLOCK_NAMESPACE"] = namespace
        if settings.lanes != DEFAULT_LANES:
            found["GENLOCK_LANES"] = str(settings.lanes)
        health = f"http://127.0.0.1:{port}/readyz"
        service = await servers.start((sys.executable, "-m", "genlock.cli", "serve"), found | _own(namespace, port))
        if await _is_ready(service, health):
            sys.stdout.write(_how_to_go_on(found, health))
            sys.stdout.flush()
        status = await service.wait()
        return status if status >= 0 else 128 - status


@asynccontextmanager
async def _namespace(running: servers.Servers, settings: Settings) -> AsyncIterator[str]:
    """The service's namespace: a random one on a given broker, where another service may run."""
    if running.how == "given":
        async with own_namespace(running.amqp_url, settings.lanes) as namespace:
            yield namespace
    else:
        yield settings.namespace


def _own(namespace: str, port: int) -> dict[str, str]:
    """The environment variables of the service."""
    return {
        "GENLOCK_NAMESPACE": namespace,
        # The URLs include the passwords.
        "GENLOCK_AMQP_PASSWORD_FILE": "",
        "GENLOCK_DATABASE_PASSWORD_FILE": "",
        "GENLOCK_HTTP_HOST": "127.0.0.1",
        "GENLOCK_HTTP_PORT": str(port),
        "GENLOCK_LOG_LEVEL": os.environ.get("GENLOCK_LOG_LEVEL") or "warning",
    }


async def _is_ready(service: Process, health: str) -> bool:
    """Poll until the service is ready; False if it ends before, having logged why."""
    ended = asyncio.ensure_future(service.wait())
    async with aiohttp.ClientSession() as http:
        while not ended.done():
            try:
                async with http.get(health) as answer:
                    if answer.status == HTTPStatus.OK:
                        return True
            except aiohttp.ClientConnectionError:
                pass  # The service does not listen yet.
            await asyncio.wait({ended}, timeout=_POLL_S)
    return False


def _how_to_go_on(variables: Mapping[str, str], health: str) -> str:
    """The lines to paste into another terminal."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    command = f"{_program()} send document.put server-1 --data {shlex.quote(FIRST_DATA)}"
    return f"""
Genlock is ready, until Ctrl-C. Paste these lines into another terminal, in this folder:

{exports}
Then send a first command:

{command}

Health: {health}
"""


def _program() -> str:
    """The path of the command line, relative to the current folder."""
    program = Path(sys.executable).with_name("genlock")
    folder = Path.cwd()
    return shlex.quote(str(program.relative_to(folder) if program.is_relative_to(folder) else program))


if __name__ == "__main__":
    sys.exit(main())
