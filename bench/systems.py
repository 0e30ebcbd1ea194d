"""The measured systems: programs that consume the inbox of a namespace and publish an event for each command.

All get the same three variables: GENLOCK_DATABASE_URL, GENLOCK_AMQP_URL and GENLOCK_NAMESPACE. All have a table
`ledger` with an `event`, and a table `documents` (Genlock also `providers`) with a `generation`; a drain checks both.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata, resources

import asyncpg

from bench.messages import Message
from bench.peers import celery_handler, faststream_handler
from bench.workloads import CLASSES, FIRST, document_body
from genlock.consumers.amqp.topology import Topology
from genlock.schemas.base import Kind
from genlock.service.database.migrate import migrate
from genlock.service.settings import Settings


@dataclass(frozen=True, slots=True)
class Seed:
    """A statement that creates records; `arguments` follow the ids."""

    statement: str
    arguments: tuple[object, ...]


_SEED_DOCUMENTS = Seed(
    """
    INSERT INTO documents (id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time)
    SELECT id, $2::bigint, $2::bigint + 1, $3::text::json,
        gen_random_uuid(), 'document.put', '/bench', '2026-01-01T00:00:00.000000Z'
    FROM unnest($1::text[]) AS id
    """,
    (FIRST, document_body()),
)

_SEED_PROVIDERS = Seed(
    """
    WITH made AS (
        INSERT INTO providers (id, generation, sequence, name, parent_id, traits, aggregates, deleted,
            maker_id, maker_type, maker_source, maker_time)
        SELECT id, $2::bigint, $2::bigint + 1, id::text, NULL, '{}', '{}', false,
            gen_random_uuid(), 'provider.create', '/bench', '2026-01-01T00:00:00.000000Z'
        FROM unnest($1::uuid[]) AS id
        RETURNING id
    ), named AS (
        INSERT INTO names (kind, name, record_id) SELECT 'provider', id::text, id::text FROM made
    )
    INSERT INTO inventories (provider_id, resource_class, total, reserved, min_unit, max_unit, step_size,
        allocation_ratio)
    SELECT id, class, 1024, 0, 1, 2147483647, 1, 1.0 FROM made, unnest($3::text[]) AS class
    """,
    (FIRST, list(CLASSES)),
)

_SEED_PEERS = Seed(
    "INSERT INTO documents (id, generation, body) SELECT id, $2::bigint, $3::text::jsonb FROM unnest($1::text[]) AS id",
    (FIRST, document_body()),
)


def _unchanged(message: Message) -> Message:
    return message


async def _nothing(_database_url: str) -> None:
    """Make no tables."""


@dataclass(frozen=True, slots=True)
class System:
    """A program, given by a module and its arguments, and its database.

    `seeds` create the records of each supported kind. The program runs as `copies` processes, which together have
    `consumers` consumers of one inbox or of `lanes` lanes. `wrap` converts a command's message into the form of the
    framework. A system without records is checked only by its events.
    """

    name: str
    about: str
    program: tuple[str, tuple[str, ...]]
    make_schema: Callable[[str], Awaitable[object]] = _nothing
    seeds: Mapping[Kind, Seed] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    copies: int = 1
    lanes: int = 1
    consumers: int = 1
    wrap: Callable[[Message], Message] = _unchanged
    unacknowledged_max: int = 0
    """How many decided messages may be unacknowledged when the program is stopped during a drain."""

    @property
    def keeps_records(self) -> bool:
        """Tell whether there is a database to check."""
        return bool(self.seeds)


async def _peer_schema(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(resources.files("bench.peers").joinpath("documents.sql").read_text())
    finally:
        await connection.close()


def _default(setting: str) -> object:
    return Settings.model_fields[setting].default


GENLOCK = System(
    name="Genlock",
    about=f"genlock serve, defaults: batches of at most {_default('batch_size_max')} commands,"
    f" prefetch {_default('prefetch')}",
    program=("genlock.cli", ("serve",)),
    make_schema=migrate,
    seeds={"document": _SEED_DOCUMENTS, "provider": _SEED_PROVIDERS},
    # Another service on this machine may have the default port.
    settings={"GENLOCK_HTTP_PORT": "0"},
)


def with_workers(count: int) -> System:
    """Genlock with several processes."""
    return replace(
        GENLOCK,
        name=f"{GENLOCK.name}, {count} processes",
        program=("genlock.cli", ("serve", "--workers", str(count))),
        consumers=count,
    )


def with_lanes(count: int) -> System:
    """Genlock with a lane for each of several processes. The first process to start may have all lanes."""
    several = with_workers(count)
    # The broker counts the active consumer of a lane, and no waiting one.
    active = [1 if queue.in_order else count for queue in Topology("any", count).command_queues]
    return replace(
        several,
        name=f"{several.name} and lanes",
        settings={**GENLOCK.settings, "GENLOCK_LANES": str(count)},
        lanes=count,
        consumers=sum(active),
    )


def with_batches(size: int) -> System:
    """Genlock with batches of at most `size` commands, and four batches in flight as by default."""
    sizes = {"GENLOCK_BATCH_SIZE_MAX": str(size), "GENLOCK_PREFETCH": str(4 * size)}
    return replace(GENLOCK, name=f"{GENLOCK.name}, batches of {size}", settings={**GENLOCK.settings, **sizes})


FASTSTREAM = System(
    name="FastStream",
    about=f"FastStream {metadata.version('faststream')} with asyncpg: a transaction for each message,"
    f" {faststream_handler.AT_ONCE} messages at once on as many connections, prefetch {faststream_handler.AT_ONCE}",
    program=("bench.peers.faststream_handler", ()),
    make_schema=_peer_schema,
    seeds={"document": _SEED_PEERS},
)


def with_copies(system: System, count: int) -> System:
    """Several processes of a system without an option for that."""
    return replace(system, name=f"{system.name}, {count} processes", copies=count, consumers=count)


CELERY = System(
    name="Celery",
    about=f"Celery {metadata.version('celery')} with psycopg {metadata.version('psycopg')}: a transaction for each"
    f" task, late acknowledgement, {celery_handler.AT_ONCE} threads with connections of their own",
    program=("bench.peers.celery_handler", ()),
    make_schema=_peer_schema,
    seeds={"document": _SEED_PEERS},
    wrap=celery_handler.as_task,
    unacknowledged_max=celery_handler.AT_ONCE,
)

BROKER_CEILING = System(
    name="RabbitMQ alone",
    about="genlock serve, with a ready-made event of the same size in place of each decision: consume, decode, collect,"
    " publish with confirms, acknowledge",
    program=("bench.broker_ceiling", ()),
    make_schema=migrate,
    settings=GENLOCK.settings,
)
