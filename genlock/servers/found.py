"""What each way of having servers finds: their URLs and their versions."""

import os
import sys
from dataclasses import dataclass
from typing import Literal, NamedTuple

from genlock._net import broker_urls
from genlock._net.urls import InvalidUrl
from genlock.servers.probes import ask_postgres, ask_rabbit, await_answer
from genlock.servers.programs import ServersUnavailable
from genlock.service.database import postgres_urls

# Given servers are expected to run already.
_GIVEN_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Servers:
    """The URLs of the servers. The database URL is an administrator's, which may create databases."""

    database_url: str
    amqp_url: str
    how: Literal["given", "docker", "local"]


class Found(NamedTuple):
    """Servers that answer, with their versions."""

    servers: Servers
    postgres_version: str
    rabbit_version: str


def ask(servers: Servers, *, timeout_s: float) -> Found:
    """Wait until both servers answer. Raises ServersUnavailable."""
    postgres = await_answer("PostgreSQL", ask_postgres, servers.database_url, timeout_s=timeout_s)
    rabbit = await_answer("RabbitMQ", ask_rabbit, servers.amqp_url, timeout_s=timeout_s)
    return Found(servers, postgres, rabbit)


def given() -> Found:
    """Find the servers that the environment names. Raises ServersUnavailable."""
    database_url = os.environ.get("GENLOCK_DATABASE_URL")
    amqp_url = os.environ.get("GENLOCK_AMQP_URL")
    if not database_url or not amqp_url:
        raise ServersUnavailable("To use given servers, set both GENLOCK_DATABASE_URL and GENLOCK_AMQP_URL.")
    for name, url, read in (
        ("GENLOCK_DATABASE_URL", database_url, postgres_urls.read),
        ("GENLOCK_AMQP_URL", amqp_url, broker_urls.read),
    ):
        try:
            read(url)
        except InvalidUrl as error:
            raise ServersUnavailable(f"The setting {name} is not valid: {error}.") from None
    return ask(Servers(database_url, amqp_url, "given"), timeout_s=_GIVEN_TIMEOUT_S)


def say(text: str) -> None:
    """Write a line about the servers to stderr."""
    sys.stderr.write(f"servers: {text}\n")
