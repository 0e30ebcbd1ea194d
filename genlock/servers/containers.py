"""PostgreSQL and RabbitMQ in Docker containers, which testcontainers starts."""

import secrets
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from genlock.servers.found import Found, Servers, ask, say
from genlock.servers.probes import READY_TIMEOUT_S
from genlock.servers.programs import ServersUnavailable

_POSTGRES_IMAGE = "postgres:17"
_RABBIT_IMAGE = "rabbitmq:4-management"
_RABBIT_PLUGINS = b"[rabbitmq_consistent_hash_exchange,rabbitmq_management]."


class NoDockerError(ServersUnavailable):
    """There is no Docker engine or no client library: the next way is tried without a message."""


def docker(postgres_options: Sequence[str], stack: ExitStack) -> Found:
    """Start both servers in containers, which the stack stops. Raises ServersUnavailable."""
    # These belong to an optional extra, and their import is slow.
    try:
        from docker.errors import DockerException  # type: ignore[import-untyped]  # noqa: PLC0415
        from testcontainers.core.config import ConnectionMode, testcontainers_config  # noqa: PLC0415
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    except ImportError as error:
        raise NoDockerError("Docker is used through testcontainers; install genlock[docker].") from error
    if not docker_answers():
        raise NoDockerError("No Docker engine answers.")
    # The ports are published on the engine's host, even if this process runs in a container. The reaper is disabled,
    # for its image is not available everywhere.
    testcontainers_config.connection_mode_override = ConnectionMode.docker_host
    testcontainers_config.ryuk_disabled = True
    password = secrets.token_hex(8)
    try:
        postgres = DockerContainer(_POSTGRES_IMAGE)
        stack.callback(postgres.stop)
        rabbit = DockerContainer(_RABBIT_IMAGE)
        stack.callback(rabbit.stop)
    except DockerException as error:
        raise NoDockerError("No Docker engine answers.") from error
    options = [word for option in ("max_connections=200", *postgres_options) for word in ("-c", option)]
    postgres.with_env("POSTGRES_PASSWORD", password).with_command(["postgres", *options])
    rabbit.with_copy_into_container(_RABBIT_PLUGINS, "/etc/rabbitmq/enabled_plugins", 0o644)
    try:
        for container, port in ((rabbit, 5672), (postgres, 5432)):
            _have_image(container.get_docker_client().client, container.image)
            container.with_exposed_ports(port)
            # In a thread, because Ctrl-C during the start would leave an unknown container behind.
            with ThreadPoolExecutor(max_workers=1) as pool:
                pool.submit(container.start).result()
        database_at = f"{postgres.get_container_host_ip()}:{postgres.get_exposed_port(5432)}"
        amqp_at = f"{rabbit.get_container_host_ip()}:{rabbit.get_exposed_port(5672)}"
    except (DockerException, OSError) as error:
        raise ServersUnavailable(f"Docker cannot run {_POSTGRES_IMAGE} and {_RABBIT_IMAGE}: {error}") from error
    database_url = f"postgresql://postgres:{password}@{database_at}/postgres?sslmode=disable"
    return ask(Servers(database_url, f"amqp://guest:guest@{amqp_at}/", "docker"), timeout_s=READY_TIMEOUT_S)


def docker_answers() -> bool:
    """Tell whether an engine listens on its Unix socket. If not, Docker's client would leave its own socket open."""
    try:
        from testcontainers.core.docker_client import get_docker_host  # noqa: PLC0415 - as in docker
    except ImportError:
        return False
    host = get_docker_host() or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(host.removeprefix("unix://")) == 0


def _have_image(client: Any, image: str) -> None:
    """Pull an image unless the engine has it. Raises DockerException."""
    if not client.images.list(name=image):
        say(f"pulling {image}")
        client.images.pull(image)
