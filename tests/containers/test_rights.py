"""compose.yaml gives each part of the system the rights of docs/roles.md and no others."""

import json
import re

import aio_pika
import aiormq
import pytest

from tests.containers.system import System
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.timeout(600)

PAGE = (REPOSITORY / "docs" / "roles.md").read_text()


def variable(system: System, replica: str, name: str) -> str:
    """A variable of a replica's environment."""
    return system.run_in(replica, "printenv", name).strip()


def test_replicas_are_connected_as_the_services_role_and_user(system: System, replica: str) -> None:
    assert system.is_ready(replica)
    roles = "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = 'genlock' AND pid <> pg_backend_pid()"
    assert system.psql(roles) == "genlock_service"
    users = system.broker("rabbitmqctl", "--quiet", "list_connections", "--no-table-headers", "user").split()
    assert set(users) - {"guest"} == {"genlock_service"}


def test_the_environment_of_a_replica_has_no_password_but_its_own(system: System, replica: str) -> None:
    environment = system.run_in(replica, "printenv")
    assert {role for role, password in system.passwords.items() if password in environment} == {"service"}


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE mine ()", "DELETE FROM documents", "UPDATE changes SET token = token", "CREATE DATABASE mine"],
)
def test_what_a_replica_knows_of_postgresql_is_not_enough_for_more_than_its_work(
    system: System, replica: str, statement: str
) -> None:
    url = variable(system, replica, "GENLOCK_DATABASE_URL")
    assert system.count("documents", url) >= 0
    with pytest.raises(AssertionError, match="permission denied"):
        system.psql(statement, url)


async def test_what_a_replica_knows_of_rabbitmq_is_not_enough_outside_of_its_namespace(
    system: System, replica: str
) -> None:
    inside = variable(system, replica, "GENLOCK_AMQP_URL")
    assert inside == f"amqp://genlock_service:{system.passwords['service']}@rabbitmq/"
    async with await aio_pika.connect(system.amqp_at("genlock_service", system.passwords["service"])) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("genlock.mine", auto_delete=True)
        await queue.delete()
        with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
            await channel.declare_queue("mine", auto_delete=True)


def test_the_service_has_the_permissions_of_the_page(system: System) -> None:
    (page,) = re.findall("^rabbitmqctl set_permissions -p genlock genlock '(.*)' '(.*)' '(.*)'$", PAGE, re.MULTILINE)
    listed = json.loads(system.broker("rabbitmqctl", "--quiet", "list_permissions", "--formatter", "json"))
    (given,) = [(row["configure"], row["write"], row["read"]) for row in listed if row["user"] == "genlock_service"]
    assert given == page


def test_the_demo_reads_nothing_of_the_system_and_the_superuser_cannot_log_in_from_elsewhere(system: System) -> None:
    with pytest.raises(AssertionError, match="permission denied for table documents"):
        system.count("documents", f"postgresql://genlock_demo:{system.passwords['demo']}@postgres/genlock")
    with pytest.raises(AssertionError, match="password authentication failed"):
        system.psql("SELECT 1", f"postgresql://postgres:{system.passwords['owner']}@postgres/genlock")
    assert system.psql("SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolsuper") == "postgres"
