"""A peer: documents guarded by a Celery task with psycopg, one transaction for each task.

It gives Genlock's guarantees for the two commands of the benchmark, by the same statements as the FastStream handler.
The inbox is the same quorum queue, which Celery can consume since 5.5. With late acknowledgement a message is settled
after the task, and the task ends when the broker has confirmed the event.
"""

import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg
from celery import Celery
from celery.worker.consumer.delayed_delivery import DelayedDelivery
from kombu import Connection, Exchange, Producer, Queue
from pamqp.commands import Basic

from bench.messages import PERSISTENT, Message
from bench.peers.documents import CONTENT_TYPE, Command, Current, conflict, succeeded

AT_ONCE = 20
"""The number of threads, each with connections of its own; README.md says how it was chosen."""

TASK = "decide"

app = Celery(
    "bench",
    set_as_current=False,
    broker=os.environ.get("GENLOCK_AMQP_URL", ""),
    task_acks_late=True,
    task_acks_on_failure_or_timeout=False,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)


class DecidedMeanwhileError(Exception):
    """Another thread or process has decided the same command; its event is in the ledger."""


class Handler:
    """The handler of a thread, with a connection to each server."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        namespace = environment["GENLOCK_NAMESPACE"]
        self._source = f"/{namespace}"
        self._database = psycopg.connect(environment["GENLOCK_DATABASE_URL"], autocommit=True)
        connection = Connection(environment["GENLOCK_AMQP_URL"], transport_options={"confirm_publish": True})
        exchange = Exchange(f"{namespace}.events", type="topic", no_declare=True)
        self._producer = Producer(connection.channel(), exchange=exchange, auto_declare=False)

    def handle(self, command: Command) -> None:
        """Decide a command and publish its event; return when the broker has confirmed that."""
        event = self._decide(command)
        attributes = json.loads(event)
        self._producer.publish(
            event.encode(),
            routing_key=attributes["type"],
            content_type=CONTENT_TYPE,
            content_encoding="utf-8",
            delivery_mode=PERSISTENT,
            message_id=attributes["id"],
            type=attributes["type"],
            headers={"subject": attributes["subject"]},
        )

    def _decide(self, command: Command) -> str:
        """Decide a command, or find its earlier decision; return its event."""
        while True:
            with suppress(DecidedMeanwhileError), self._database.transaction():
                known = self._row("SELECT event FROM ledger WHERE id = %s", command.id)
                if known is not None:
                    event: str = known[0]
                    return event
                event = self._apply(command)
                recorded = self._database.execute(
                    "INSERT INTO ledger (id, event) VALUES (%s, %s) ON CONFLICT DO NOTHING", (command.id, event)
                )
                if recorded.rowcount != 1:
                    raise DecidedMeanwhileError
                return event

    def _apply(self, command: Command) -> str:
        """Change the document if its generation is the expected one; return the event."""
        if command.type == "document.put":
            changed: Current | None = self._row(
                "UPDATE documents SET generation = generation + 1, body = %s"
                " WHERE id = %s AND generation = %s RETURNING generation, body",
                json.dumps(command.data.body),
                command.subject,
                command.data.expected_generation,
            )
        else:
            changed = self._row(
                "UPDATE documents SET generation = generation + 1, body = body || %s"
                " WHERE id = %s RETURNING generation, body",
                json.dumps(command.data.patch),
                command.subject,
            )
        if changed is None:
            current: Current | None = self._row("SELECT generation, body FROM documents WHERE id = %s", command.subject)
            return conflict(command, self._source, current)
        return succeeded(command, self._source, changed)

    def _row(self, statement: str, *arguments: object) -> Any:
        return self._database.execute(statement, arguments).fetchone()


_own = threading.local()
"""The handler of each thread."""


def decide(command: dict[str, Any]) -> None:
    """Decide a command. Its message is acknowledged afterwards."""
    if not hasattr(_own, "handler"):
        _own.handler = Handler(os.environ)
    _own.handler.handle(Command.model_validate(command))


app.task(name=TASK)(decide)


def as_task(message: Message) -> Message:
    """A command as Celery would publish it: the same JSON, as the argument of a task."""
    task_id = message.properties.message_id
    task = app.amqp.as_task_v2(task_id, TASK, args=(json.loads(message.body),))
    properties = Basic.Properties(
        content_type="application/json",
        content_encoding="utf-8",
        headers={name: value for name, value in task.headers.items() if value is not None},
        delivery_mode=PERSISTENT,
        correlation_id=task_id,
    )
    return Message(message.routing_key, json.dumps(task.body).encode(), properties)


def main() -> None:
    """Serve until SIGTERM."""
    namespace = os.environ["GENLOCK_NAMESPACE"]
    inbox = Queue(
        f"{namespace}.inbox",
        Exchange(f"{namespace}.commands", type="topic", no_declare=True),
        routing_key="#",
        queue_arguments={"x-queue-type": "quorum"},
        no_declare=True,
    )
    app.conf.task_queues = [inbox]
    app.conf.task_default_queue = inbox.name
    # With a quorum queue Celery declares 28 more queues for delayed tasks, which are not needed here.
    DelayedDelivery.include_if = lambda *_: False
    options = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR")
    app.worker_main(["worker", "--pool=threads", f"--concurrency={AT_ONCE}", *options])


if __name__ == "__main__":
    main()
