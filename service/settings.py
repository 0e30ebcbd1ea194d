"""Settings, from the environment: each is the variable `GENLOCK_` and its name in capitals."""

from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from genlock import _broker_urls
from genlock._urls import with_password_file
from genlock.schemas.namespaces import Namespace
from genlock.service.database import postgres_urls

LANES_MAX = 32
"""Each lane is a queue of its own on the broker, and two channels and two connections to PostgreSQL in each process."""


class Settings(BaseSettings):
    """Everything that can be set. Times are in seconds, sizes in commands unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="GENLOCK_", frozen=True, hide_input_in_errors=True)

    database_url: Annotated[
        SecretStr, Field(description="PostgreSQL, as postgresql://user@host:port/database; several hosts with commas.")
    ] = SecretStr("postgresql://localhost:5432/genlock")
    amqp_url: Annotated[
        SecretStr, Field(description="RabbitMQ, as amqp://user:password@host:port/vhost; several hosts with commas.")
    ] = SecretStr("amqp://localhost:5672/")
    database_password_file: Annotated[
        str, Field(description="A file with the password for PostgreSQL, for a URL without one; read at each connect.")
    ] = ""
    amqp_password_file: Annotated[
        str, Field(description="A file with the password for RabbitMQ, for a URL without one; read at each connect.")
    ] = ""
    service_role: Annotated[
        str,
        Field(
            max_length=63,
            description="For `genlock migrate`, which connects as the owner: the role that serves, and is granted what "
            "it needs. Empty where the owner serves.",
        ),
    ] = ""
    migrate_wait_s: Annotated[
        float,
        Field(
            gt=0,
            description="How long `genlock migrate` waits for another one, and for the tables of each migration, while "
            "others have them locked.",
        ),
    ] = 240.0
    namespace: Annotated[
        Namespace, Field(description="What the names of all exchanges and queues start with; not amq.")
    ] = "genlock"
    batch_size_max: Annotated[
        int, Field(ge=1, le=10_000, description="The most commands that are decided in one transaction.")
    ] = 256
    prefetch: Annotated[
        int, Field(ge=1, le=65_535, description="How many unacknowledged commands the broker lets a replica hold.")
    ] = 1_024
    lanes: Annotated[
        int,
        Field(
            ge=1,
            le=LANES_MAX,
            description="How many queues commands are spread over by their subject, to be decided in order; 1 is one "
            "inbox without that order. `genlock lanes` changes it.",
        ),
    ] = 1
    start_timeout_s: Annotated[
        float, Field(gt=0, description="How long a start waits for PostgreSQL and RabbitMQ before it gives up.")
    ] = 60.0
    decide_timeout_s: Annotated[
        float, Field(gt=0, description="How long one statement, a commit included, may take.")
    ] = 10.0
    publish_timeout_s: Annotated[
        float, Field(gt=0, description="How long the broker may take to confirm the events of a batch.")
    ] = 30.0
    shutdown_timeout_s: Annotated[
        float, Field(gt=0, description="How long a stop may take to settle what is held.")
    ] = 25.0
    heartbeat_s: Annotated[
        int,
        Field(ge=2, le=600, description="The AMQP heartbeat: a dead connection is noticed after some three of them."),
    ] = 15
    session_s: Annotated[
        float,
        Field(
            gt=0,
            description="How long a session with the broker lasts before it is settled and another one is begun, which "
            "brings back what the broker has delivered and nobody has got.",
        ),
    ] = 300.0
    retry_delay_max_s: Annotated[
        float, Field(gt=0, description="The longest pause between tries while a server is away.")
    ] = 5.0
    sweep_after_s: Annotated[
        float, Field(gt=0, description="How old an unconfirmed batch is before its events are published again.")
    ] = 30.0
    ledger_retention_days: Annotated[
        float, Field(gt=1, description="How long ids are remembered, in days. Older unknown commands are refused.")
    ] = 14.0
    progress_timeout_s: Annotated[
        float, Field(gt=0, description="How long a delivery may be held before the replica counts as not ready.")
    ] = 30.0
    http_host: Annotated[str, Field(description="Where probes and metrics are answered.")] = "0.0.0.0"  # noqa: S104
    http_port: Annotated[
        int, Field(ge=0, le=65_535, description="The port of /livez, /readyz and /metrics; 0 turns them off.")
    ] = 8080
    read_connections: Annotated[int, Field(ge=1, le=100, description="PostgreSQL connections for reads.")] = 4
    accept_unsafe_database: Annotated[
        bool, Field(description="Serve on a database without fsync or full_page_writes. For development alone.")
    ] = False
    tracing: Annotated[
        bool,
        Field(description="Export OpenTelemetry spans, as the standard OTEL_ variables say; needs genlock[tracing]."),
    ] = False
    log_format: Annotated[
        str, Field(pattern="^(auto|json|text)$", description="json, text, or auto: text on a terminal, else json.")
    ] = "auto"
    log_level: Annotated[
        str, Field(pattern="^(debug|info|warning|error)$", description="The least that is logged.")
    ] = "info"

    @field_validator("database_url", "amqp_url")
    @classmethod
    def _is_url(cls, url: SecretStr, info: ValidationInfo) -> SecretStr:
        read = _broker_urls.read if info.field_name == "amqp_url" else postgres_urls.read
        read(url.get_secret_value())
        return url

    @property
    def database(self) -> str:
        """Where PostgreSQL is, with its password or the name of the file that has it."""
        return with_password_file(self.database_url.get_secret_value(), self.database_password_file, postgres_urls.KIND)

    @property
    def broker(self) -> str:
        """Where RabbitMQ is, likewise."""
        return with_password_file(self.amqp_url.get_secret_value(), self.amqp_password_file, _broker_urls.KIND)

    @property
    def source(self) -> str:
        """The CloudEvents source of all outcome events."""
        return f"/{self.namespace}"
