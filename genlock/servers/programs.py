"""Finds the programs of PostgreSQL and RabbitMQ. As root on Debian, missing ones are installed."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from genlock.servers import packages

# The folder of Debian's programs that are not on PATH: postgresql/VERSION/bin and rabbitmq/bin.
_DEBIAN = Path("/usr/lib")

_PACKAGES = ("postgresql", "rabbitmq-server")

_WHY = "PostgreSQL and RabbitMQ are needed to run on, and not all of their programs are here"


class ServersUnavailable(Exception):  # noqa: N818 - it is an answer, not a mistake
    """PostgreSQL and RabbitMQ are unavailable. The text is one sentence with the reason or the remedy."""


@dataclass(frozen=True)
class Programs:
    """The paths of the servers' programs."""

    postgres: Path
    rabbitmq: Path
    epmd: Path

    @classmethod
    def have(cls) -> Self:
        """Find the programs; as root on Debian, install missing ones and say so. Raises ServersUnavailable."""
        try:
            return cls.find()
        except ServersUnavailable:
            if not packages.can_install():
                raise
        try:
            packages.install(_PACKAGES, _WHY, missing=cls._missing)
        except packages.CannotInstallError as error:
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
        """Search a path (PATH by default) and Debian's folders.

        Raises ServersUnavailable, which names the missing programs.
        """
        newest_first = sorted(
            debian.glob("postgresql/[0-9]*/bin/postgres"), key=lambda file: float(file.parts[-3]), reverse=True
        )
        # Debian's rabbitmq-server on PATH is a wrapper that changes the user and the home folder: it comes last.
        postgres = _existing(shutil.which("postgres", path=path), *newest_first)
        rabbitmq = _existing(debian / "rabbitmq/bin/rabbitmq-server", shutil.which("rabbitmq-server", path=path))
        epmd = _existing(shutil.which("epmd", path=path))
        if postgres and rabbitmq and epmd:
            return cls(postgres, rabbitmq, epmd)
        found = {"postgres": postgres, "rabbitmq-server": rabbitmq, "epmd": epmd}
        raise ServersUnavailable(
            f"Not found: {', '.join(name for name, file in found.items() if file is None)}; install PostgreSQL 15 or "
            f"later and RabbitMQ 3.10 or later (on Debian: `{packages.command(_PACKAGES)}`), or set "
            "GENLOCK_DATABASE_URL and GENLOCK_AMQP_URL."
        )


def _existing(*candidates: Path | str | None) -> Path | None:
    return next((Path(file) for file in candidates if file and Path(file).exists()), None)


def program(name: str, package: str, why: str) -> Path:
    """Find one program; as root on Debian, install its package if it is missing. Raises ServersUnavailable."""
    # Debian puts servers into folders that are only on an administrator's PATH.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
    if shutil.which(name, path=path) is None:
        try:
            packages.install((package,), why, missing=lambda: shutil.which(name, path=path) is None)
        except packages.CannotInstallError as error:
            raise ServersUnavailable(str(error)) from error
    found = shutil.which(name, path=path)
    if found is None:
        raise ServersUnavailable(f"Not found: {name}, although its package {package} is installed.")
    return Path(found)
