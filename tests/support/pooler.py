"""A private PgBouncer in front of the tests' PostgreSQL."""

import signal
import socket
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from genlock.servers.local import _LocalServer
from genlock.servers.probes import ATTEMPT_TIMEOUT_S
from genlock.servers.programs import program

Mode = Literal["session", "transaction", "statement"]


def pgbouncer() -> Path:
    """Find the program; on Debian root has it installed if need be. Raises ServersUnavailable."""
    return program("pgbouncer", "pgbouncer", "tests of poolers need PgBouncer, and it is not here")


class PgBouncer(_LocalServer):
    """A pooler for the databases of one PostgreSQL, and for the users of the URLs. `settings` are lines of its file."""

    name = "PgBouncer"
    stop_signal = signal.SIGINT
    kill_signal = signal.SIGKILL

    def __init__(self, mode: Mode, urls: Collection[str], *settings: str) -> None:
        super().__init__()
        self._program = pgbouncer()
        self._mode = mode
        self._urls = [urlsplit(url) for url in urls]
        self._settings = settings

    def at(self, url: str) -> str:
        """The URL of the same database by way of the pooler."""
        parts = urlsplit(url)
        return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self.port}").geturl()

    @property
    def url(self) -> str:
        """Where the first of the users connects."""
        return self.at(self._urls[0].geturl())

    def _ask(self, _url: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=ATTEMPT_TIMEOUT_S):
            return ""

    def _spawn_server(self) -> subprocess.Popen[bytes]:
        users = {url.username or "": unquote(url.password or "") for url in self._urls}
        self._write("users", "".join(f'"{name}" "{password}"\n' for name, password in users.items()))
        server = self._urls[0]
        lines = (
            "[databases]",
            f"* = host={server.hostname} port={server.port or 5432}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            # All are let in, with the password that the server asks for.
            "auth_type = trust",
            f"auth_file = {self.folder / 'users'}",
            f"pool_mode = {self._mode}",
            "default_pool_size = 20",
            *self._settings,
        )
        config = self._write("pgbouncer.ini", "".join(f"{line}\n" for line in lines))
        return self._spawn([self._program, config], self.kill_signal, {})


Pooling: TypeAlias = Callable[..., PgBouncer]
"""Starts a pooler for all databases of the tests."""
