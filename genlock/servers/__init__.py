"""PostgreSQL and RabbitMQ for the demo and the tests: given, in Docker containers, or private ones on this machine.

These ways are tried in this order; GENLOCK_SERVERS=given, docker or local forces one.

    python -m genlock.servers COMMAND [ARG…]

runs a command with GENLOCK_DATABASE_URL and GENLOCK_AMQP_URL of such servers and a database of its own.
"""

from genlock.servers.choice import prepare, running
from genlock.servers.databases import Role, database, make_role, service_role
from genlock.servers.found import Servers
from genlock.servers.local import LocalPostgres, LocalRabbit
from genlock.servers.programs import ServersUnavailable
from genlock.servers.signals import run_to_end, start, unwind_at_signals

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
