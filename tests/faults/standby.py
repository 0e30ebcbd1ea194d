"""A PostgreSQL with a synchronous standby on this machine: every commit is on both."""

import asyncio
import shutil

import asyncpg

from genlock.servers import LocalPostgres, make_role
from genlock.servers.programs import Programs
from genlock.service.database.migrate import migrate
from tests.support.harness import until
from tests.support.proxy import joined

STANDBY = "genlock_standby"
"""The name of the server that is the standby; the commits of the primary wait for it."""


class Member(LocalPostgres):
    """One of the two; as a standby it follows the one that it is a copy of."""

    options = (*LocalPostgres.options, f"cluster_name={STANDBY}", "max_standby_streaming_delay=-1")

    def copy(self, primary: "Member") -> None:
        """Become a copy of a running primary; what there was is gone."""
        data = self.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        source = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "genlock")
        self._run("pg_basebackup", *source, "-D", data, "-R", "-X", "stream", "-c", "fast", "--no-sync")


class Pair:
    """A primary that runs, and a standby once `follow` has been called."""

    def __init__(self, programs: Programs, member: type[Member] = Member) -> None:
        self.primary, self.standby = member(programs), member(programs)
        self.service_url = ""
        """Where the service connects, once both were started migrated."""

    @property
    def primary_url(self) -> str:
        """The same, for clients that have to be told that they want the primary."""
        return wanting_primary(self.url)

    @property
    def members(self) -> list[Member]:
        """Both, in the order of their URLs."""
        return sorted((self.primary, self.standby), key=lambda member: member.url)

    async def start(self) -> None:
        """Start both, migrated."""
        self.primary.launch()
        await asyncio.to_thread(self.primary.wait_ready)
        role = await make_role(self.primary.url)
        await migrate(self.primary.url, role.name)
        self.service_url = role.at(self.url)
        await self.follow()

    @property
    def url(self) -> str:
        """Where an administrator connects: the URL names both, and not which of them is the primary."""
        return joined(*(member.url for member in self.members))

    async def follow(self) -> None:
        """Have the standby follow the primary from nothing; from then on each commit waits for it."""
        await asyncio.to_thread(self.standby.copy, self.primary)
        await self.start_standby()
        await self._wait_for(STANDBY)

        async def in_sync() -> bool:
            states = await self._ask(self.primary, "SELECT array_agg(sync_state) FROM pg_stat_replication")
            return states == ["sync"]

        await until(in_sync)

    async def start_standby(self) -> None:
        """Start the standby with what it has."""
        self.standby.launch()
        await asyncio.to_thread(self.standby.wait_ready)

    async def promote(self) -> None:
        """Make the standby the primary, as a cluster's manager does once the old one is gone. It has no standby yet."""
        self.primary, self.standby = self.standby, self.primary
        # Without waiting there: what it recovers yet can cancel any query.
        await self._ask(self.primary, "SELECT pg_promote(false)")

        async def promoted() -> bool:
            return await self._ask(self.primary, "SELECT pg_is_in_recovery()") is False

        await until(promoted)
        await self._wait_for("")

    async def waiting_commits(self) -> int:
        """How many connections to the primary wait for the standby."""
        waiting = "SELECT count(*)::integer FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        return int(str(await self._ask(self.primary, waiting)))

    async def _wait_for(self, standby: str) -> None:
        """Have each commit on the primary wait for the standby of that name, or for none."""
        await self._ask(self.primary, f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
        await self._ask(self.primary, "SELECT pg_reload_conf()")

    @staticmethod
    async def _ask(member: Member, statement: str) -> object:
        connection = await asyncpg.connect(member.url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    def close(self) -> None:
        """End both."""
        self.primary.close()
        self.standby.close()


def wanting_primary(url: str) -> str:
    """The URL for clients that have to be told that they want the primary."""
    return f"{url}&target_session_attrs=read-write"
