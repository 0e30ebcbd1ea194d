"""Databases and roles of a PostgreSQL server, for the time of a test or a demo."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from genlock._net.urls import url_with
from genlock.service.database import postgres_urls
from genlock.service.database.connecting import connect


@asynccontextmanager
async def database(admin_url: str, template: str | None = None) -> AsyncIterator[str]:
    """Create a database with a random name, from a template database if one is named, and drop it in the end.

    Yields its URL. Raises asyncpg's errors.
    """
    name = f"genlock_{secrets.token_hex(8)}"
    source = f' TEMPLATE "{template}"' if template else ""
    try:
        # Within the try: the database may exist even if this statement was cancelled.
        await _execute(admin_url, f'CREATE DATABASE "{name}"{source}')
        yield url_with(admin_url, postgres_urls.KIND, name=name)
    finally:
        await _execute(admin_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@dataclass(frozen=True, slots=True)
class Role:
    """A role of PostgreSQL that may log in. It has only the privileges granted to it."""

    name: str
    password: str

    def at(self, url: str) -> str:
        """The URL with the login of this role."""
        return url_with(url, postgres_urls.KIND, login=(self.name, self.password))


async def make_role(admin_url: str) -> Role:
    """Create a role with a random name. Raises asyncpg's errors."""
    role = _new_role()
    await _create(admin_url, role)
    return role


def _new_role() -> Role:
    return Role(f"genlock_{secrets.token_hex(8)}", secrets.token_hex(16))


async def _create(admin_url: str, role: Role) -> None:
    await _execute(admin_url, f"CREATE ROLE {role.name} LOGIN PASSWORD '{role.password}'")


@asynccontextmanager
async def service_role(admin_url: str) -> AsyncIterator[Role]:
    """Create a role with a random name, to which `migrate` can grant privileges, and drop it in the end.

    Drop the databases in which it has privileges first.
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
