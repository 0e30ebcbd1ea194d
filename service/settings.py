"""Settings from the environment. The variable of a setting is `GENLOCK_` and its name in capitals."""

from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from genlock._net import broker_urls
from genlock._net.urls import with_password_file
from genlock.schemas.namespaces import Namespace
from genlock.service.database import postgres_urls

LANES_MAX = 32
"""Each lane costs a queue on the broker, and two channels and two PostgreSQL connections in each process."""


class Settings(BaseSettings):
    """All settings. Times are in seconds and sizes in commands unless the name says otherwise."""

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
        float, Field(gt=0, description="How long a stop may take to settle held messages.")
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
            "redelivers messages that the broker believes delivered and that never arrived.",
        ),
    ] = 300.0
    retry_delay_max_s: Annotated[
        float, Field(gt=0, description="The longest pause between tries while a server is away.")
    ] = 5.0
    sweep_after_s: Annotated[
        float,
        Field(
            gt=0, description="For how long a replica sees an unconfirmed batch before it publishes its events again."
        ),
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
    require_user: Annotated[
        bool,
        Field(
            description="Reject commands without the AMQP property `user_id`, by which the broker tells who published "
            "them. The same for all replicas."
        ),
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
        read = broker_urls.read if info.field_name == "amqp_url" else postgres_urls.read
        read(url.get_secret_value())
        return url

    @property
    def database(self) -> str:
        """PostgreSQL's URL, with its password or the name of the password file."""
        return with_password_file(self.database_url.get_secret_value(), self.database_password_file, postgres_urls.KIND)

    @property
    def broker(self) -> str:
        """RabbitMQ's URL, with its password or the name of the password file."""
        return with_password_file(self.amqp_url.get_secret_value(), self.amqp_password_file, broker_urls.KIND)

    @property
    def source(self) -> str:
        """The CloudEvents source of all outcome events."""
        return f"/{self.namespace}"
