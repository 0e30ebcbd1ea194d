"""`genlock dead retry --dry-run`: it says what a retry would come to, and changes nothing."""

from datetime import UTC, datetime, timedelta

from genlock.service.ledger.retry_ids import retry_id
from genlock.service.settings import Settings
from tests.support.database import Connection
from tests.support.dead_letter_retries import created, outcomes_of, retried
from tests.support.dead_letters import (
    die_of_a_fault,
    dump,
    publish_dead_letter,
    publish_dead_letter_of,
)
from tests.support.documents import creation, merge
from tests.support.factories import Json, envelope, new_id
from tests.support.harness import Client, serving


async def test_a_dry_run_says_what_would_become_of_each_dead_letter_and_changes_nothing(
    client: Client, second: Connection, settings: Settings
) -> None:
    document = await created(client, settings)
    poison, succeeded, reused = merge(document), merge(document), merge(document)
    await die_of_a_fault(client, settings, poison)
    async with serving(settings):
        await client.ask(succeeded, reused)
    long_ago = (datetime.now(UTC) - timedelta(days=20)).isoformat()
    put = {"expected_generation": 7, "body": {}}
    dead_letters: list[tuple[Json | None, tuple[str, str]]] = [
        (poison, ("would apply", "")),
        (merge(document), ("would apply", "")),
        (creation(document), ("would conflict", "exists")),
        (envelope("document.put", document, put), ("would conflict", "ahead")),
        (merge(document, time=long_ago), ("would be rejected", "expired")),
        (merge(new_id()), ("would be rejected", "not_found")),
        (envelope("document.paint", document, {}), ("would be rejected", "unknown_type")),
        (envelope("document.merge", document, {}), ("would be rejected", "invalid_data")),
        (reused | {"data": {"patch": {}}}, ("would be rejected", "id_reused")),
        (succeeded, ("already decided", "succeeded")),
        (None, ("cannot be decoded", "no UUID as its id")),
    ]
    for command, _ in dead_letters[1:]:
        if command is None:
            await publish_dead_letter(client, b"[]")
        else:
            await publish_dead_letter_of(client, command, "delivery_limit")
    before, events = await dump(second), len(client.events)
    results = await retried(settings, "--all", "--dry-run", code=1)
    assert [result[:2] for result in results] == [expected for _, expected in dead_letters]
    own = [None if command is None else command["id"] for command, _ in dead_letters]
    assert [command_id for _, _, command_id in results] == [retry_id(poison["id"], 1), *own[1:]]
    assert await dump(second) == before
    assert await client.depth(client.topology.inbox) == 0
    await client.until_depth(client.topology.dead_letters, len(dead_letters))
    assert len(client.events) == events


async def test_a_dry_run_tries_each_dead_letter_alone_against_the_records_of_today(
    client: Client, settings: Settings
) -> None:
    create, copy = creation("one"), creation("one")
    follow = envelope("document.put", "one", {"expected_generation": 0, "body": {}})
    for command in (create, copy, follow):
        await publish_dead_letter_of(client, command, "delivery_limit")
    assert [(result, detail) for result, detail, _ in await retried(settings, "--all", "--dry-run")] == [
        ("would apply", ""),
        ("would apply", ""),
        ("would conflict", "missing"),
    ]


async def test_what_a_dry_run_says_is_what_a_retry_comes_to(client: Client, settings: Settings) -> None:
    document = await created(client, settings)
    commands = [merge(document), creation(document), merge(document, time="2020-01-01T00:00:00Z")]
    for command in commands:
        await publish_dead_letter_of(client, command, "delivery_limit")
    said = await retried(settings, "--all", "--dry-run")
    assert await retried(settings, "--all") == [("retried", "under its own id", command["id"]) for command in commands]
    outcomes = await outcomes_of(client, settings, *(command["id"] for command in commands))
    words = {"would apply": "succeeded", "would conflict": "conflict", "would be rejected": "rejected"}
    for outcome, (result, detail, command_id) in zip(outcomes, said, strict=True):
        assert outcome["type"].endswith(words[result])
        assert outcome["causationid"] == command_id
        assert detail in ("", outcome["data"].get("reason"), outcome["data"].get("code"))
