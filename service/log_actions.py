"""The words that a log line has as its `action`, and the names of its fields: what each means.

Both are closed sets: tests/unit/test_logs.py reads every call of the logger. The texts are Markdown, for the pages in
docs/reference/.
"""

ACTIONS: dict[str, str] = {
    "start": "The service starts. It exits 1 if it cannot; `why` is one sentence.",
    "wait_for_server": "The start waits for PostgreSQL or RabbitMQ, for at most `GENLOCK_START_TIMEOUT_S`.",
    "settings": "A variable of the environment looks like a setting and is none. Correct its name.",
    "ready": "The session with the broker has begun: commands and queries are taken.",
    "decide": "What a command came to. A success is logged at the level `debug`; a conflict is no error.",
    "decide_again": "A batch was rolled back because of what another consumer did, and is decided again at once.",
    "poison": "The service failed on a command, which is rejected with `internal_error` and kept in the "
    "[dead letters](../dead-letters.md). Report the traceback.",
    "blame": "An [experiment](../architecture.md#whose-fault-it-is) failed, which finds out what a fault "
    "follows: a record, or everything.",
    "hold": "A batch waits because PostgreSQL cannot work, or because the clocks disagree. Nothing is lost: it is "
    "decided as soon as the cause in `why` is gone.",
    "hold_record": "Commands cannot be decided while others can: each waits in the database, and is tried again, until "
    "what `why` says is gone ([what to do](../production.md#a-record-that-is-in-trouble)).",
    "publish": "The broker has not confirmed messages in time, or refuses some. Those that it refuses "
    "[wait](../production.md#a-queue-that-is-full) and are published again.",
    "confirm": "The database could not note that the broker has confirmed events. They may be published once more.",
    "sweep": "Events of a batch that was decided some time ago and not confirmed are published again.",
    "dead_letter": "A message goes to the [dead letters](../dead-letters.md), or cannot be put there yet.",
    "decode": "Reading a message failed because of a fault in the service. The message goes to the dead letters.",
    "ignore_reply_to": "A command named a queue of the namespace, or one with a NUL in its name, as its `reply_to`. It "
    "gets no copy of its outcome.",
    "drop_reply": "A reply could not be delivered. The outcome of a command was published as an event all the same; "
    "the author of a query asks again.",
    "reply": "A connection for [direct replies](../contract.md#the-envelope) could not be used. Replies take another "
    "one or are dropped.",
    "query": "The service failed on a query, and answered with `internal_error` or not at all. Report the traceback.",
    "drop_query": "A query cannot be answered: it has no usable `reply_to`, or cannot be read and has no "
    "`correlation_id`.",
    "reconnect": "The session with the broker was lost. Another one is begun after `again_in_s`, and the broker "
    "redelivers the held messages.",
    "check": "A health check failed, or found that the process is stuck. `/livez` and `/readyz` have the reasons.",
    "clock": "The database's clock was set, or goes as before ([clocks](../production.md#clocks)).",
    "forget": "The ledger forgets commands that are past `GENLOCK_LEDGER_RETENTION_DAYS`, or puts that off.",
    "withdraw": "The database could not take back that this process had tried suspect commands: the next crash on one "
    "of them comes sooner to the limit.",
    "migrate": "`genlock migrate` waits for a lock, or found more than one set of tables.",
    "refuse_database": "The database is reached in a way that cannot work, such as through a pooler in transaction "
    "mode. The service ends.",
    "restart": "A worker process ended unexpectedly, and another one takes its place.",
    "settle": "A session or the service ends: it takes no more messages, and settles the held ones.",
    "stop": "The service has ended, was ended at once by a second signal, or cannot go on.",
    "library": "A line of a library that the service uses.",
}
"""By the word that stands in `action`."""

FIELDS: dict[str, str] = {
    "actual": "the token that the record has",
    "after_s": "how long that took, in seconds",
    "again_in_s": "the pause before the next try, in seconds",
    "batch": "the id of the batch in the table `batches`",
    "by_s": "by how many seconds; negative if it was put back",
    "code": "the [rejection code](codes.md#rejection-codes)",
    "command_id": "the id of the command",
    "commands": "how many commands",
    "complaint": "which check failed",
    "crashes": "how many processes ended while they decided the command",
    "events": "how many events",
    "exception": "the traceback",
    "exit_code": "how the process ended; negative for a signal",
    "expected": "the token that the command expected",
    "held": "how many deliveries or commands are held meanwhile",
    "held_by": "the sessions of PostgreSQL that have the lock",
    "id": "the id of the record",
    "kind": "the kind of the record",
    "known": "the newest schema that this program knows",
    "message": "the sentence of a rejection",
    "messages": "how many messages",
    "namespace": "the namespace on the broker",
    "on": "what the fault follows",
    "others": "the other schemas that have such tables",
    "purpose": "what the connection is for",
    "queue": "the name of the queue",
    "reason": "the [conflict reason](codes.md#conflict-reasons)",
    "reply_to": "the queue that was to get the reply",
    "routing_key": "where the message was to go",
    "schema": "the version of the schema, or its name",
    "sequence": "how many commands the record has accepted",
    "server": "PostgreSQL or RabbitMQ",
    "suspects": "how many commands were tried",
    "to": "what the connection was for",
    "token": "the token that the command made",
    "type": "the type of the command or query",
    "what": "what waits",
    "why": "the cause, as the server or the program says it",
    "winner": "the id of the command that made the actual token",
    "worker": "the number of the worker",
}
"""By the name of the field. `timestamp`, `level`, `event` and `action` stand in every line."""
