"""Find the programs of PostgreSQL and RabbitMQ; on Debian root has them installed if they are missing."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from genlock import servers_packages

# Where Debian puts programs that are not on PATH: postgresql/VERSION/bin and rabbitmq/bin.
_DEBIAN = Path("/usr/lib")

_PACKAGES = ("postgresql", "rabbitmq-server")

_WHY = "PostgreSQL and RabbitMQ are needed to run on, and not all of their programs are here"


class ServersUnavailable(Exception):  # noqa: N818 - it is the answer to a question, not somebody's mistake
    """No PostgreSQL and RabbitMQ can be had; the text is one sentence that says why or what to do."""


@dataclass(frozen=True)
class Programs:
    """Where the servers' programs are."""

    postgres: Path
    rabbitmq: Path
    epmd: Path

    @classmethod
    def have(cls) -> Self:
        """Find the programs; on Debian root installs what is missing, and says so. Raises ServersUnavailable."""
        try:
            return cls.find()
        except ServersUnavailable:
            if not servers_packages.can_install():
                raise
        try:
            servers_packages.install(_PACKAGES, _WHY, missing=cls._missing)
        except servers_packages.CannotInstallError as error:
            raise ServersUnavailable(str(error)) from error
        return cls.find()

    @classmethod
    def _missing(cls) -> bool:
        try:
            cls.find()
        except ServersUnavailable:
            return True
        return False

    @classmethod
    def find(cls, path: str | None = None, debian: Path = _DEBIAN) -> Self:
        """Look on a search path (that of the environment by default) and where Debian puts programs.

        Raises ServersUnavailable, which names what is missing.
        """
        newest_first = sorted(
            debian.glob("postgresql/[0-9]*/bin/postgres"), key=lambda file: float(file.parts[-3]), reverse=True
        )
        # Debian's rabbitmq-server on PATH is a wrapper that changes the user and the home folder, so it comes last.
        postgres = _existing(shutil.which("postgres", path=path), *newest_first)
        rabbitmq = _existing(debian / "rabbitmq/bin/rabbitmq-server", shutil.which("rabbitmq-server", path=path))
        epmd = _existing(shutil.which("epmd", path=path))
        if postgres and rabbitmq and epmd:
            return cls(postgres, rabbitmq, epmd)
        found = {"postgres": postgres, "rabbitmq-server": rabbitmq, "epmd": epmd}
        raise ServersUnavailable(
            f"Not found: {', '.join(name for name, file in found.items() if file is None)}; install PostgreSQL 15 or "
            f"later and RabbitMQ 3.10 or later (on Debian: `{servers_packages.command(_PACKAGES)}`), or set "
            "GENLOCK_DATABASE_URL and GENLOCK_AMQP_URL."
        )


def _existing(*candidates: Path | str | None) -> Path | None:
    return next((Path(file) for file in candidates if file and Path(file).exists()), None)


def program(name: str, package: str, why: str) -> Path:
    """Find one program; on Debian root has its package installed if need be. Raises ServersUnavailable."""
    # Debian keeps servers where only an administrator's search path leads.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
    if shutil.which(name, path=path) is None:
        try:
            servers_packages.install((package,), why, missing=lambda: shutil.which(name, path=path) is None)
        except servers_packages.CannotInstallError as error:
            raise ServersUnavailable(str(error)) from error
    found = shutil.which(name, path=path)
    if found is None:
        raise ServersUnavailable(f"Not found: {name}, although its package {package} is installed.")
    return Path(found)
