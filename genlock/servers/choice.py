"""The choice of servers: given ones, containers, or private ones on this machine."""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from genlock.servers.containers import NoDockerError, docker, docker_answers
from genlock.servers.found import Found, Servers, given, say
from genlock.servers.local import LocalPostgres, LocalRabbit
from genlock.servers.programs import Programs, ServersUnavailable
from genlock.servers.signals import signals_passed_over

POSTGRES_MIN = (15,)
RABBIT_MIN = (3, 10)


@contextmanager
def running(postgres_options: Sequence[str] = ()) -> Iterator[Servers]:
    """Find or start the servers while the context lasts, and say so on stderr. Only in the main thread.

    A PostgreSQL that is started gets the options, such as `shared_buffers=1GB`; a given one is unchanged.
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
        say(f"{servers.how}, PostgreSQL {postgres} and RabbitMQ {rabbit}, {verb} in {took_s:.1f} s")
        yield servers
    finally:
        with signals_passed_over():
            stack.close()


def prepare() -> None:
    """Install everything that `running` may need, without starting it. Raises ServersUnavailable."""
    way = os.environ.get("GENLOCK_SERVERS")
    named = os.environ.get("GENLOCK_DATABASE_URL") or os.environ.get("GENLOCK_AMQP_URL")
    if way == "local" or (not way and not named and not docker_answers()):
        Programs.have()


def _find(stack: ExitStack, postgres_options: Sequence[str]) -> Found:
    """Choose a way by the environment and take it. The stack ends what it starts."""
    ways: dict[str, Callable[[ExitStack], Found]] = {
        "given": lambda _: given(),
        "docker": lambda started: docker(postgres_options, started),
        "local": lambda started: _local(postgres_options, started),
    }
    forced = os.environ.get("GENLOCK_SERVERS")
    if forced:
        if forced not in ways:
            raise ServersUnavailable(f"GENLOCK_SERVERS is {forced!r}, but may be given, docker or local.")
        return ways[forced](stack)
    if os.environ.get("GENLOCK_DATABASE_URL") or os.environ.get("GENLOCK_AMQP_URL"):
        return given()
    try:
        # Servers started before a failure have to end before the next way is tried.
        with ExitStack() as attempt:
            found = ways["docker"](attempt)
            stack.push(attempt.pop_all())
            return found
    except NoDockerError:
        pass
    except ServersUnavailable as error:
        say(f"Docker is passed over: {error}")
    return ways["local"](stack)


def _local(postgres_options: Sequence[str], stack: ExitStack) -> Found:
    programs = Programs.have()
    rabbit = stack.enter_context(closing(LocalRabbit(programs)))
    postgres = stack.enter_context(closing(LocalPostgres(programs, postgres_options)))
    # The broker first, because it takes longest; PostgreSQL starts meanwhile.
    rabbit.launch()
    postgres_version = postgres.start()
    return Found(Servers(postgres.url, rabbit.url, "local"), postgres_version, rabbit.wait_ready())


def _require(name: str, version: str, minimum: tuple[int, ...]) -> None:
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[: len(minimum)])
    if numbers < minimum:
        raise ServersUnavailable(f"{name} {version} is too old: {'.'.join(map(str, minimum))} or later is needed.")
