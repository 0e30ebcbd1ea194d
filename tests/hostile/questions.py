"""The worst that an asker can ask: of each type of query the one that costs the service most."""

from typing import Any

from tests.hostile.ground import CLASSES, MODEST_CLASSES, Ground
from tests.hostile.worst import Sent, Worst, one
from tests.support.factories import new_id

AT_ONCE = 16
"""How many queries a replica has in hand by default."""

RECORDS_MAX = 1_000
"""The largest page."""


def _asked(query_type: str, subject: str | None, count: int, **filters: Any) -> list[Sent]:
    return [one(query_type, subject, filters) for _ in range(count)]


def _get(query_type: str, subject: str, held: int) -> Worst:
    """One large record, or outcome, again and again."""
    return Worst(lambda ground, count: _asked(query_type, getattr(ground, subject), count), "at once", AT_ONCE, held)


def _list(query_type: str, subject: str | None, held: int, **filters: Any) -> Worst:
    """Pages of large records."""

    def volley(ground: Ground, records: int) -> list[Sent]:
        about = subject and getattr(ground, subject)
        return _asked(query_type, about, 1, limit=records, **filters)

    return Worst(volley, "records of a page", RECORDS_MAX, held)


def _provider(ground: Ground, classes: int) -> list[Sent]:
    asked = ground.large_provider if classes == CLASSES else ground.providers[30]
    return _asked("provider.get", asked, 2)


def _odd(ground: Ground, count: int) -> list[Sent]:
    """Queries whose answers go nowhere, or that are none, before one that has an answer."""
    queries = _asked("document.get", ground.document, count)
    nowhere = ["nobody", "amq.gen-nobody", "amq.rabbitmq.reply-to.g1h2AA5yZXBseUAxMjM=.x", "amq.rabbitmq.reply-to.", ""]
    lost = [
        Sent(query.body, query.routing_key, 0, properties={"reply_to": reply_to})
        for query in queries
        for reply_to in nowhere
    ]
    rubbish = [Sent(b"[" * 1_000, "document.get", 0)] * count
    return [*lost, *rubbish, *_asked("document.get", new_id(), 1)]


def _trait_terms(_: Ground, terms: int) -> list[Sent]:
    required = [f"!CUSTOM_{number}" for number in range(terms)]
    return _asked("provider.list", None, 1, required=required, limit=1)


QUESTIONS: dict[str, Worst] = {
    "provider.get": Worst(_provider, "inventories", CLASSES, MODEST_CLASSES),
    "provider.outcome": _get("provider.outcome", "command", 4),
    "provider.list": _list("provider.list", None, 1),
    "provider.allocations": _list("provider.allocations", "large_provider", 1),
    "provider.usages": _list("provider.usages", "large_provider", 10),
    "consumer.get": _get("consumer.get", "consumer", 1),
    "consumer.outcome": _get("consumer.outcome", "command", 4),
    "project.usages": _list("project.usages", "project", 1),
    "stack.get": _get("stack.get", "stack", 1),
    "stack.outcome": _get("stack.outcome", "command", 4),
    "stack.list": _list("stack.list", None, 100),
    "document.get": _get("document.get", "document", 1),
    "document.outcome": _get("document.outcome", "command", 1),
    "command.get": _get("command.get", "command", 1),
    "record.history": _list("record.history", "document", RECORDS_MAX, kind="document"),
}
"""By the type of query. tests/hostile/test_askers.py holds that none is missing."""

ODD_QUESTIONS: dict[str, Worst] = {
    "answers that go nowhere": Worst(_odd, "at once", AT_ONCE, 2),
    "terms": Worst(_trait_terms, "terms", 256, 256),
}
"""Queries of any type, by what is odd about them."""
