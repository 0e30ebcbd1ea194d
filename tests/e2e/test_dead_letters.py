"""`genlock dead`: dead letters of every sort are listed, shown and dropped, and nothing else happens to them."""

import json
import tracemalloc
from datetime import UTC, datetime, timedelta

import aiormq
import pytest

from genlock.consumers.operations.dead_letter_queue import PAGE
from genlock.service.settings import Settings
from tests.support.command_line import genlock, on_terminal, without_colours
from tests.support.dead_letters import (
    DIED,
    die_of_a_fault,
    die_of_returns,
    publish_dead_letter,
    publish_dead_letter_of,
    publish_dead_letters,
    reading,
)
from tests.support.documents import creation, merge
from tests.support.factories import Json, json_bytes, new_id
from tests.support.harness import Client, serving

NEWLINES = "\r\n"


async def listed(settings: Settings, *arguments: str) -> list[Json]:
    ran = await genlock(settings, "dead", "list", *arguments)
    assert (ran.code, ran.err) == (0, "")
    return ran.rows


async def handles(settings: Settings, *arguments: str) -> list[str]:
    return [row["handle"] for row in await listed(settings, *arguments)]


async def publish_numbered(client: Client, count: int, size: int = 0) -> list[str]:
    """Letters that come in the order of the subjects that they have; `size` is how many bytes of no use each has."""
    commands = [creation(f"d{number:05}", {"x": "x" * size}) for number in range(count)]
    await publish_dead_letters(client, commands)
    return [command["subject"] for command in commands]


async def test_dead_letters_of_every_sort_are_listed(client: Client, settings: Settings) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    poison, returned = merge(new_id(), source="/poison"), creation()
    await die_of_returns(client, returned)
    await die_of_a_fault(client, settings, poison)
    async with serving(settings):
        await client.publish(b"{", "stack.create")
        await client.until_depth(client.topology.dead_letters, 3)
    rows = await listed(settings)
    assert [(row["handle"], row["id"], row["type"], row["reason"]) for row in rows] == [
        (returned["id"], returned["id"], "document.put", "delivery_limit"),
        (poison["id"], poison["id"], "document.merge", "internal_error"),
        (rows[2]["handle"], None, "stack.create", rows[2]["reason"]),
    ]
    assert rows[2]["handle"].startswith("body-")
    assert rows[2]["reason"].startswith("not JSON: ")
    assert (rows[1]["subject"], rows[1]["source"]) == (poison["subject"], "/poison")
    assert [row["bytes"] for row in rows] == [len(json_bytes(returned)), len(json_bytes(poison)), 1]
    for row in rows:
        assert began <= datetime.fromisoformat(row["died"]) <= datetime.now(UTC) + timedelta(seconds=1)
    assert await listed(settings) == rows
    await client.until_depth(client.topology.dead_letters, 3)


async def test_dead_letters_are_selected_by_id_reason_type_and_time(client: Client, settings: Settings) -> None:
    put, other, stack = creation(), creation(), creation() | {"type": "stack.create", "data": {}}
    await publish_dead_letter_of(client, put, "internal_error", died=DIED)
    await publish_dead_letter_of(client, other, "delivery_limit", died=DIED + timedelta(hours=1))
    await publish_dead_letter_of(client, stack, "internal_error", died=datetime.now(UTC))
    await publish_dead_letter(client, b"\xff", "not UTF-8: invalid start byte at byte 0", died=None)
    everything = await handles(settings)
    one, two, _, four = everything
    assert everything[:3] == [put["id"], other["id"], stack["id"]]
    for arguments, expected in {
        (one.upper(), four): [one, four],
        ("--reason", "internal_error", "--type", "document.*"): [one],
        ("--since", "2026-03-01T12:30:00Z", "--until", "1h"): [two],
        ("--limit", "2"): [one, two],
    }.items():
        assert await handles(settings, *arguments) == expected, arguments


async def test_an_id_that_no_dead_letter_has_is_exit_1(client: Client, settings: Settings) -> None:
    command, missing = creation(), new_id()
    await publish_dead_letter_of(client, command)
    for verb in (("list",), ("retry", "--dry-run"), ("drop", "--yes")):
        ran = await genlock(settings, "dead", *verb, missing)
        assert ran.code == 1
        assert ran.err.endswith(f"genlock: There is no dead letter {missing}.\n")
    ran = await genlock(settings, "dead", "list", missing, command["id"])
    assert (ran.code, [row["id"] for row in ran.rows]) == (1, [command["id"]])


async def test_the_age_of_a_dead_letter_without_a_time_is_that_of_its_message(
    client: Client, settings: Settings
) -> None:
    await publish_dead_letter(client, b"{", "an older Genlock", died=None, timestamp=DIED)
    await publish_dead_letter(client, b"", "unknown", died=None)
    assert [row["died"] for row in await listed(settings)] == ["2026-03-01T12:00:00+00:00", None]


async def test_the_later_death_counts(client: Client, settings: Settings) -> None:
    """A dead letter that was moved back by hand, and died again of something else."""
    await die_of_returns(
        client, creation(), headers={"x-genlock-reason": "x", "x-genlock-time": "2026-01-01T00:00:00Z"}
    )
    (returned,) = await client.drain(client.topology.dead_letters)
    await publish_dead_letter(
        client, returned.body, "internal_error", died=datetime.now(UTC), headers=dict(returned.headers)
    )
    await publish_dead_letter(client, returned.body, "internal_error", died=DIED, headers=dict(returned.headers))
    assert [row["reason"] for row in await listed(settings)] == ["internal_error", "delivery_limit"]


async def test_dead_letters_keep_their_order_and_number_however_often_they_are_read(
    client: Client, settings: Settings
) -> None:
    subjects = await publish_numbered(client, 2 * PAGE + 7)
    for _ in range(3):
        async with reading(settings) as dead_letters:
            assert [dead_letter.summary.subject async for dead_letter in dead_letters.read()] == subjects
            assert await dead_letters.count() == 0
        await client.until_depth(client.topology.dead_letters, len(subjects))


async def test_five_thousand_dead_letters_are_listed_in_bounded_time(client: Client, settings: Settings) -> None:
    count = 5_000
    subjects = await publish_numbered(client, count)
    # The command line has DEADLINE_S for it. If it takes more than a moment, it says how far it is.
    ran = await genlock(settings, "dead", "list")
    assert all("dead letters read" in line for line in ran.err.splitlines())
    assert [row["subject"] for row in ran.rows] == subjects
    await client.until_depth(client.topology.dead_letters, count)


async def test_only_one_page_of_bodies_is_in_memory(client: Client, settings: Settings) -> None:
    size, pages = 50_000, 5
    await publish_numbered(client, pages * PAGE, size)
    async with reading(settings) as dead_letters:
        tracemalloc.start()
        found = [dead_letter.summary.subject async for dead_letter in dead_letters.read()]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(found) == pages * PAGE
    assert peak < 2 * PAGE * size


async def test_what_comes_meanwhile_is_not_read(client: Client, settings: Settings) -> None:
    await publish_numbered(client, 2 * PAGE)
    read = 0
    async with reading(settings) as dead_letters:
        async for _ in dead_letters.read():
            read += 1
            if read % 10 == 0:
                await publish_dead_letter_of(client, creation())
    assert read == 2 * PAGE
    await client.until_depth(client.topology.dead_letters, 2 * PAGE + read // 10)


async def test_it_ends_where_others_have_taken_the_dead_letters(client: Client, settings: Settings) -> None:
    await publish_numbered(client, 2 * PAGE)
    read = 0
    async with reading(settings) as dead_letters:
        async for _ in dead_letters.read():
            read += 1
            if read == 1:
                assert len(await client.drain(client.topology.dead_letters)) == PAGE
    assert read == PAGE


async def test_a_namespace_that_is_not_there_is_not_made(client: Client, settings: Settings) -> None:
    for verb in (("list",), ("retry", "--all"), ("drop", "--all", "--yes")):
        ran = await genlock(settings, "dead", *verb, "--namespace", f"{settings.namespace}-typo")
        assert (ran.code, ran.out) == (1, "")
        assert "NOT_FOUND" in ran.err
    queue = f"{settings.namespace}-typo.dead_letters"
    with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
        await client.channel.declare_queue(queue, passive=True)


async def test_a_second_reader_is_told_to_wait(client: Client, settings: Settings) -> None:
    await publish_dead_letter_of(client, creation())
    async with reading(settings):
        ran = await genlock(settings, "dead", "list")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith("genlock: Another program is reading the dead letters")
    assert len(await listed(settings)) == 1


async def test_show_has_all_that_a_dead_letter_has(client: Client, settings: Settings) -> None:
    command = creation(body={"name": "ä"})
    await publish_dead_letter_of(
        client, command, reply_to="somewhere", headers={"subject": command["subject"], "x-n": 7}
    )
    await publish_dead_letter(client, b"\xff\x00", "not UTF-8")
    ran = await genlock(settings, "dead", "show", command["id"])
    (row,) = ran.rows
    assert (ran.code, row["reason"], json.loads(row["body"])) == (0, "internal_error", command)
    assert (row["routing_key"], row["properties"]["reply_to"]) == ("document.put", "somewhere")
    assert (row["headers"]["subject"], row["headers"]["x-n"]) == (command["subject"], 7)
    code, text = await on_terminal(settings, "dead", "show", command["id"])
    assert code == 0
    assert '      "name": "ä"' in text.split(NEWLINES)
    assert "somewhere" in text
    (row,) = (await genlock(settings, "dead", "show", (await handles(settings))[1])).rows
    assert row["body_base64"] == "/wA="


async def test_show_of_several_dead_letters_with_one_id_shows_all(client: Client, settings: Settings) -> None:
    command = creation()
    await publish_dead_letter_of(client, command, "internal_error")
    await publish_dead_letter_of(client, command, "delivery_limit")
    ran = await genlock(settings, "dead", "show", command["id"])
    assert [row["reason"] for row in ran.rows] == ["internal_error", "delivery_limit"]
    ran = await genlock(settings, "dead", "show", new_id())
    assert (ran.code, ran.out) == (1, "")


async def test_nothing_of_a_dead_letter_is_a_control_character_on_a_terminal(
    client: Client, settings: Settings
) -> None:
    evil = "\x1b]0;gotcha\x07\x9b31m\x00\u202e"
    body = json.dumps({"a": evil}, ensure_ascii=False).encode()
    text = f"{evil} no JSON".encode()
    for dead_letter in (body, text):
        await publish_dead_letter(
            client, dead_letter, f"reason {evil}", headers={f"h{evil}": evil}, correlation_id="\x1b[5m"
        )
    await publish_dead_letter_of(client, creation(evil.replace("\x00", ""), source="/x"))
    shown = [await on_terminal(settings, "dead", "list")]
    shown += [await on_terminal(settings, "dead", "show", handle) for handle in await handles(settings)]
    shown.append(await on_terminal(settings, "dead", "retry", "--all", "--dry-run"))
    shown.append(await on_terminal(settings, "dead", "drop", "--all", question="[y/N]", answer="n"))
    for _, written in shown:
        assert "gotcha" in written or "cannot be decoded" in written
        rest = without_colours(written).replace(NEWLINES, "\n")
        assert [character for character in rest if not character.isprintable() and character != "\n"] == []


async def test_drop_removes_selected_letters_and_nothing_else(client: Client, settings: Settings) -> None:
    subjects = await publish_numbered(client, PAGE + 20)
    rows = await listed(settings)
    chosen = [rows[0]["handle"], rows[7]["handle"], rows[-1]["handle"]]
    ran = await genlock(settings, "dead", "drop", "--yes", *chosen)
    assert (ran.code, [row["handle"] for row in ran.rows]) == (0, chosen)
    assert ran.err == "Dropped 3 dead letters: 3 internal_error.\n"
    await client.until_depth(client.topology.dead_letters, len(subjects) - 3)
    left = [row["subject"] for row in await listed(settings)]
    assert left == [subject for number, subject in enumerate(subjects) if number not in (0, 7, len(subjects) - 1)]


async def test_drop_of_all_is_done_when_it_says_so(client: Client, settings: Settings) -> None:
    await publish_numbered(client, 5 * PAGE)
    ran = await genlock(settings, "dead", "drop", "--all", "--yes")
    assert (ran.code, len(ran.rows)) == (0, 5 * PAGE)
    assert await client.depth(client.topology.dead_letters) == 0
    assert await listed(settings) == []


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 0), ("n", 1, 25), ("", 1, 25)])
async def test_drop_asks_on_a_terminal(client: Client, settings: Settings, answer: str, code: int, left: int) -> None:
    await publish_numbered(client, 25)
    ended, text = await on_terminal(settings, "dead", "drop", "--all", question="[y/N]", answer=answer or "\x04")
    assert ended == code
    assert "… and 5 more" in text
    assert "Drop 25 dead letters for good? [y/N]" in text
    await client.until_depth(client.topology.dead_letters, left)


@pytest.mark.parametrize(
    "arguments",
    [
        ("retry",),
        ("drop",),
        ("drop", "--yes"),
        ("drop", "--all"),
        ("retry", "--dry-run"),
        ("retry", "--all", "--reason", "x"),
        ("list", "--since", "soon"),
        ("list", "--since", "1h", "--until", "2h"),
        ("list", "--limit", "0"),
        ("show",),
    ],
)
async def test_wrong_usage_is_exit_2_and_changes_nothing(
    client: Client, settings: Settings, arguments: tuple[str, ...]
) -> None:
    await publish_dead_letter_of(client, creation())
    assert (await genlock(settings, "dead", *arguments)).code == 2
    assert await client.depth(client.topology.dead_letters) == 1


async def test_a_broker_that_is_away_is_exit_1_with_a_sentence(settings: Settings) -> None:
    for verb in (("list",), ("show", "x"), ("retry", "--all"), ("drop", "--all", "--yes")):
        ran = await genlock(settings, "dead", *verb, GENLOCK_AMQP_URL="amqp://a:secret@127.0.0.1:1/")
        assert ran.code == 1
        assert ran.err.startswith("genlock: RabbitMQ at 127.0.0.1:1 cannot be used: ")
        assert len(ran.err.splitlines()) == 1
