"""The decider that the property tests of a module share."""

import asyncio
from collections.abc import Iterator

import pytest

from genlock.servers import Role, Servers
from tests.property.deciding import Deciding, deciding_database


@pytest.fixture(scope="module")
def deciding(servers: Servers, database_template: str, service_role: Role) -> Iterator[Deciding]:
    """A decider on a database of the module's own."""
    with asyncio.Runner() as runner:
        context = deciding_database(runner, servers.database_url, database_template, service_role)
        yield runner.run(context.__aenter__())
        runner.run(context.__aexit__(None, None, None))
