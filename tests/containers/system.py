"""A whole system, brought up by compose.yaml as a project of its own on free ports, and gone in the end."""

import os
import re
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.paths import REPOSITORY

COMMAND_TIMEOUT_S = 300.0
HTTP_TIMEOUT_S = 10.0
START_TIMEOUT_S = 120.0
"""How long a replica may take to be ready, or a few hundred commands to be answered, on a machine with other work."""

ADMINISTRATOR = "postgresql:///genlock?user=postgres"
"""PostgreSQL's superuser, in its container."""


class System:
    """The system's replicas, and what can be asked of it from outside. Its calls block."""

    def __init__(self, project: str) -> None:
        self.image = f"genlock:{project}"
        self.passwords = {role: secrets.token_hex(8) for role in ("owner", "service", "demo", "guest")}
        self._environment = {
            **os.environ,
            **{f"GENLOCK_{role}_PASSWORD".upper(): password for role, password in self.passwords.items()},
            "COMPOSE_PROJECT_NAME": project,
            "GENLOCK_IMAGE": self.image,
            # Any free one, and one for each replica.
            "GENLOCK_AMQP_PORT": "0",
            "GENLOCK_HTTP_PORT": "0",
        }

    def docker(self, *arguments: str) -> str:
        """Run docker and return what it prints. Raises AssertionError with its complaint."""
        done = subprocess.run(  # noqa: S603 - words of the tests and no shell
            ["docker", *arguments],  # noqa: S607 - wherever it is installed
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def compose(self, *arguments: str) -> str:
        """Run docker compose in the project; otherwise as `docker`."""
        return self.docker("compose", "--progress=quiet", *arguments)

    def up(self, replicas: int = 1) -> None:
        """Have that many replicas, and return when all are healthy."""
        self.compose("up", "--detach", "--wait", "--no-recreate", f"--scale=genlock={replicas}")

    def build(self) -> None:
        """Build the image, once for all services that share it."""
        self.compose("build", "--quiet", "genlock")

    def down(self) -> None:
        """Remove all of it, data and image included."""
        self.compose("--profile=demo", "down", "--volumes", "--remove-orphans", "--timeout=5")
        # Listed first, because there is none where building it has failed.
        for _ in self.docker("image", "ls", "--quiet", self.image).split():
            self.docker("image", "rm", self.image)

    @property
    def amqp_url(self) -> str:
        """Where publishers outside connect."""
        return self.amqp_at("guest", self.passwords["guest"])

    def amqp_at(self, user: str, password: str, virtual_host: str = "") -> str:
        """Where a user connects from outside."""
        return f"amqp://{user}:{password}@{self.compose('port', 'rabbitmq', '5672').strip()}/{virtual_host}"

    def replicas(self) -> list[str]:
        """The ids of the service's containers that run."""
        return self.compose("ps", "--quiet", "genlock").split()

    def kill(self, replica: str) -> None:
        """End a replica at once, without a chance to settle anything."""
        self.docker("kill", "--signal=KILL", replica)

    def stop(self, replica: str) -> int:
        """End a replica as an upgrade does, with as much time as compose gives it, and return its exit code."""
        self.docker("stop", "--time=35", replica)
        return int(self.inspect(replica, "State.ExitCode"))

    def start(self, replica: str) -> None:
        """Start a replica again, without waiting for it."""
        self.docker("start", replica)

    def inspect(self, container: str, what: str) -> str:
        """What the engine says about a container."""
        return self.docker("inspect", f"--format={{{{.{what}}}}}", container).strip()

    def run_in(self, container: str, *command: str) -> str:
        """Run a command in a container and return what it prints."""
        return self.docker("exec", container, *command)

    def get(self, replica: str, path: str) -> tuple[int, str]:
        """GET a page of a replica from outside; return its status and body. Raises OSError."""
        address = self.docker("port", replica, "8080/tcp").split()[0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{address}{path}", timeout=HTTP_TIMEOUT_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def is_ready(self, replica: str) -> bool:
        """Say whether a replica says that it is ready."""
        try:
            status, _ = self.get(replica, "/readyz")
        except OSError:
            return False
        return status == 200

    def is_healthy(self, container: str) -> bool:
        """Say whether the image's own health check has found a container ready."""
        return self.inspect(container, "State.Health.Status") == "healthy"

    def decided_by(self, replica: str) -> int:
        """How many commands a replica has answered since its start."""
        return self.metric(replica, "genlock_commands_total")

    def metric(self, replica: str, name: str) -> int:
        """The sum of a metric over its labels."""
        _, metrics = self.get(replica, "/metrics")
        return int(sum(map(float, re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", metrics, re.MULTILINE))))

    def psql(self, statement: str, url: str = ADMINISTRATOR) -> str:
        """Run a statement in PostgreSQL's own container, as it is not published; return what it prints."""
        return self.compose("exec", "-T", "postgres", "psql", url, "-v", "ON_ERROR_STOP=1", "-qtAc", statement).strip()

    def broker(self, *command: str) -> str:
        """Run a command in the broker's container and return what it prints."""
        return self.compose("exec", "-T", "rabbitmq", *command)

    def count(self, table: str, url: str = ADMINISTRATOR) -> int:
        """Count the rows of a table."""
        return int(self.psql(f"SELECT count(*) FROM {table}", url))  # noqa: S608 - a name from the tests


@contextmanager
def brought_up() -> Iterator[System]:
    """Build the image and bring the system up; in the end, and after any failure, it is removed."""
    system = System(f"genlock-test-{secrets.token_hex(4)}")
    try:
        system.build()
        try:
            system.up()
        except AssertionError:
            sys.stderr.write(system.compose("logs", "--tail=20"))
            raise
        yield system
    finally:
        system.down()
