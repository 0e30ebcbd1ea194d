"""Find the servers' programs, and install Debian packages without starting a server.

    python3 -I genlock/servers_programs.py PACKAGE…

The Makefile runs this file before there is a virtual environment, so it uses the standard library alone.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

# Where Debian puts programs that are not on PATH: postgresql/VERSION/bin and rabbitmq/bin.
_DEBIAN = Path("/usr/lib")

_PACKAGES = ("postgresql", "rabbitmq-server")

# Debian's packages start a server as soon as they are installed unless this program refuses with 101.
_POLICY = Path("/usr/sbin/policy-rc.d")
# PostgreSQL's package also makes a database cluster, unless this says no.
_NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/no-main.conf")

# How long apt waits for another apt to finish, in seconds.
_LOCK_TIMEOUT_S = 300


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
            if not can_install():
                raise
        sys.stderr.write(f"servers: installing {' and '.join(_PACKAGES)} with apt-get; no server is started by that\n")
        try:
            install(_PACKAGES)
        except OSError as error:
            raise ServersUnavailable(f"Installing the servers failed: {error}") from error
        return cls.find()

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
            "later and RabbitMQ 3.10 or later (on Debian: apt-get install postgresql rabbitmq-server), or set "
            "GENLOCK_DATABASE_URL and GENLOCK_AMQP_URL."
        )


def _existing(*candidates: Path | str | None) -> Path | None:
    return next((Path(file) for file in candidates if file and Path(file).exists()), None)


def can_install() -> bool:
    """Say whether this is root on a machine of the Debian family."""
    return os.geteuid() == 0 and Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def install(packages: Sequence[str]) -> None:
    """Install packages; no server is started and no database cluster made. Raises OSError with apt's last words."""
    with ExitStack() as stack:
        stack.enter_context(_file(_POLICY, "#!/bin/sh\nexit 101\n", mode=0o755))
        stack.enter_context(_file(_NO_CLUSTER, "create_main_cluster = false\n", mode=0o644))
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", *packages)


@contextmanager
def _file(path: Path, text: str, *, mode: int) -> Iterator[None]:
    """Have a file there for a while; one that is there already is left as it is."""
    if path.exists():
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    try:
        yield
    finally:
        path.unlink()


def _apt(*arguments: str) -> None:
    command = ["apt-get", "--quiet", "--option", f"DPkg::Lock::Timeout={_LOCK_TIMEOUT_S}", *arguments]
    result = subprocess.run(  # noqa: S603 - a fixed command and the names of packages, no shell
        command,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise OSError(f"`{' '.join(command)}` failed: {' '.join(result.stdout.splitlines()[-3:])}")


def main(packages: Sequence[str]) -> int:
    """Install packages, or say in one sentence why not. Returns the exit status."""
    names = " ".join(packages)
    if not can_install():
        sys.stderr.write(
            f"Please install {names} (on Debian: apt-get install {names}), or run this as root on Debian.\n"
        )
        return 1
    sys.stderr.write(f"Installing {names} with apt-get; no server is started.\n")
    try:
        install(packages)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
