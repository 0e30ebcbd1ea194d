"""A PostgreSQL that is shut down at once, or killed, or loses a process, under load: it recovers, and so does all."""

import pytest

from genlock.servers import LocalPostgres
from genlock.service.settings import Settings
from tests.faults.conftest import at, some_load
from tests.faults.injection import DOWN_S, on_postgres
from tests.faults.load import SOME
from tests.faults.schedule import POSTGRES, Fault, Planned
from tests.support.harness import serving, until_ready


@pytest.mark.parametrize("fault", [Fault.SHUT_DOWN, Fault.KILL, Fault.KILL_BACKEND])
async def test_a_database_that_crashes_and_recovers_under_load_keeps_every_verdict(
    postgres: LocalPostgres, migrated_url: str, amqp_url: str, quick: Settings, fault: Fault
) -> None:
    async with some_load(migrated_url, amqp_url, quick.namespace) as load:
        async with serving(at(quick, migrated_url, amqp_url)) as service:
            load.begin()
            await load.until_seen(SOME)
            await on_postgres(postgres, Planned(0, fault, POSTGRES, DOWN_S))
            await load.probe()
            await load.until_seen(SOME)
            await load.proved()
            await until_ready(service)
        await load.nothing_left()
