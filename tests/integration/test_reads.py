"""Reads of documents, stacks, commands and histories: existing records, page by page, and missing ones."""

from typing import Any, TypeAlias

import pytest

from genlock.schemas.base import JsonObject
from genlock.schemas.catalogue import RECORDS
from genlock.schemas.codes import Code
from genlock.schemas.decode import Command
from genlock.schemas.queries import QUERIES, NoFilters
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.reading.reads import QueryError
from tests.support.consumer_factories import set_allocations, set_many, wanted
from tests.support.factories import SOME_ID, delete_document, merge, new_id, put, refused_command, stack_command
from tests.support.harness import outcomes
from tests.support.provider_factories import create_provider
from tests.support.reads import read

Failed: TypeAlias = Code


async def asked(pool: Pool, query: str, subject: str = "", **filters: Any) -> JsonObject:
    """The answer to a query that has one."""
    answer = await read(pool, query, subject, QUERIES[query].model_validate(filters))
    assert not isinstance(answer, QueryError), answer
    return answer


async def refused(pool: Pool, query: str, subject: str, **filters: Any) -> Code:
    """The code of a query that has no answer."""
    answer = await read(pool, query, subject, QUERIES[query].model_validate(filters))
    assert isinstance(answer, QueryError), answer
    return answer.code


async def test_a_document_is_read_as_its_last_event_showed_it(pool: Pool, decider: Decider) -> None:
    document = new_id()
    *_, last = outcomes(await decider.decide([put(document, None, {"a": 1.0, "é": [1e3]}), merge(document, {"b": {}})]))
    answer = await asked(pool, "document.get", document)
    assert answer == {"record": last.data.model_dump()["record"], "sequence": 2}


async def test_a_document_that_is_deleted_or_never_was_is_not_found(pool: Pool, decider: Decider) -> None:
    document = new_id()
    await decider.decide([put(document, None), delete_document(document, 0)])
    assert await refused(pool, "document.get", document) is Code.NOT_FOUND
    assert await refused(pool, "document.get", new_id()) is Code.NOT_FOUND


async def test_a_stack_is_read_with_its_templates(pool: Pool, decider: Decider) -> None:
    stack = new_id()
    create = stack_command("create", stack, template={"n": 1}, timeout_s=60)
    update = stack_command("update", stack, expected_traversal=create.id, template={"n": 2})
    await decider.decide([create, update])
    answer = await asked(pool, "stack.get", stack.upper())
    record = answer["record"]
    assert (record["id"], record["name"], record["timeout_s"]) == (stack, stack, 60)
    assert (record["template"], record["previous_template"]) == ({"n": 2}, {"n": 1})
    assert (record["traversal"], record["previous_traversal"]) == (update.id, create.id)
    assert (record["action"], record["status"], answer["sequence"]) == ("UPDATE", "IN_PROGRESS", 2)


def deletion_of(stack: str, create: Command) -> list[Command]:
    delete = stack_command("delete", stack, expected_traversal=create.id)
    return [delete, stack_command("set_state", stack, expected_traversal=delete.id)]


async def test_a_deleted_stack_is_not_found_and_not_listed(pool: Pool, decider: Decider) -> None:
    stack, name = new_id(), new_id()
    create = stack_command("create", stack, name=name)
    await decider.decide([create, *deletion_of(stack, create)])
    assert await refused(pool, "stack.get", stack) is Code.NOT_FOUND
    assert await refused(pool, "stack.get", new_id()) is Code.NOT_FOUND
    assert await asked(pool, "stack.list", name=name) == {"records": [], "next": None}
    assert await asked(pool, "stack.list") == {"records": [], "next": None}


async def test_stacks_are_listed_page_by_page_each_once(pool: Pool, decider: Decider) -> None:
    stacks = sorted(new_id() for _ in range(7))
    await decider.decide([stack_command("create", stack) for stack in stacks])
    seen, pages, after = list[str](), list[int](), None
    while True:
        page = await asked(pool, "stack.list", limit=3, after=after)
        seen += [record["id"] for record in page["records"]]
        pages.append(len(page["records"]))
        after = page["next"]
        if after is None:
            break
    assert seen == stacks
    assert pages == [3, 3, 1]


async def test_a_page_that_just_holds_all_has_no_next(pool: Pool, decider: Decider) -> None:
    await decider.decide([stack_command("create", new_id()) for _ in range(3)])
    page = await asked(pool, "stack.list", limit=3)
    assert (len(page["records"]), page["next"]) == (3, None)


async def test_listed_stacks_leave_their_templates_out(pool: Pool, decider: Decider) -> None:
    await decider.decide([stack_command("create", new_id())])
    [record] = (await asked(pool, "stack.list"))["records"]
    assert "template" not in record
    assert "traversal" in record


async def test_stacks_are_filtered_by_name_action_and_status(pool: Pool, decider: Decider) -> None:
    creating, failed, deleting = new_id(), new_id(), new_id()
    creates = {stack: stack_command("create", stack, name=f"name {stack}") for stack in (creating, failed, deleting)}
    fail = stack_command("set_state", failed, expected_traversal=creates[failed].id, status="FAILED")
    await decider.decide([*creates.values(), fail, deletion_of(deleting, creates[deleting])[0]])

    async def listed(**filters: Any) -> set[str]:
        return {record["id"] for record in (await asked(pool, "stack.list", **filters))["records"]}

    assert await listed() == {creating, failed, deleting}
    assert await listed(name=f"name {failed}") == {failed}
    assert await listed(name="it's missing") == set()
    assert await listed(action="CREATE") == {creating, failed}
    assert await listed(status="IN_PROGRESS") == {creating, deleting}
    assert await listed(action="DELETE", status="IN_PROGRESS") == {deleting}
    assert await listed(name=f"name {failed}", status="COMPLETE") == set()


async def test_the_outcome_of_a_command_is_read_as_it_was_published(pool: Pool, decider: Decider) -> None:
    commands = [put(new_id(), None), put(new_id(), 3)]
    answers = outcomes(await decider.decide(commands))
    for command, outcome in zip(commands, answers, strict=True):
        answer = await asked(pool, "command.get", command.id.upper())
        assert answer["record"]["id"] == outcome.id
        assert answer["record"]["data"] == outcome.data.model_dump(mode="json", exclude_unset=True)
    assert await refused(pool, "command.get", new_id()) is Code.NOT_FOUND


async def test_outcome_is_found_by_the_query_of_its_kind_and_no_other(pool: Pool, decider: Decider) -> None:
    provider, consumer = new_id(), new_id()
    refusal = refused_command("stack.create", new_id(), {"name": 7})
    commands = {
        "document": [put(new_id(), None), put(new_id(), 3)],
        "provider": [create_provider(provider)],
        "consumer": [set_allocations(consumer, None, {}), set_many({consumer: wanted(1, {})})],
        "stack": [stack_command("create", new_id()), refusal],
        None: [refused_command("stack.creat", new_id(), {"template": {"secret": 1}})],
    }
    await decider.decide([command for sent in commands.values() for command in sent])
    for sent_on, sent in commands.items():
        for command in sent:
            for kind in RECORDS:
                query = f"{kind}.outcome"
                if kind == sent_on:
                    assert (await asked(pool, query, command.id))["record"]["causationid"] == command.id
                else:
                    hidden = await read(pool, query, command.id, QUERIES[query].model_validate({}))
                    missing = await read(pool, query, SOME_ID, QUERIES[query].model_validate({}))
                    assert isinstance(hidden, QueryError)
                    assert isinstance(missing, QueryError)
                    assert hidden.message.replace(command.id, SOME_ID) == missing.message
                    assert hidden.code is missing.code is Code.NOT_FOUND
            assert (await asked(pool, "command.get", command.id))["record"]["causationid"] == command.id


async def test_the_history_of_a_document_outlives_it(pool: Pool, decider: Decider) -> None:
    document = new_id()
    commands = [put(document, None), merge(document, {}), put(document, 0), delete_document(document, 1)]
    events = outcomes(await decider.decide(commands))
    history = await asked(pool, "record.history", document, kind="document")
    accepted = [commands[0], commands[1], commands[3]]
    assert history == {
        "records": [
            {
                "sequence": number + 1,
                "token": {"generation": number},
                "command_id": command.id,
                "type": command.type,
                "source": "/tests",
                "time": events[0].time,
            }
            for number, command in enumerate(accepted)
        ],
        "next": None,
    }


async def test_the_history_of_a_stack_shows_reports_under_the_traversal_that_they_are_about(
    pool: Pool, decider: Decider
) -> None:
    stack = new_id()
    create = stack_command("create", stack)
    await decider.decide([create, stack_command("set_state", stack, expected_traversal=create.id)])
    history = await asked(pool, "record.history", stack, kind="stack")
    assert [change["token"] for change in history["records"]] == [{"traversal": create.id}] * 2
    assert [change["type"] for change in history["records"]] == ["stack.create", "stack.set_state"]


async def test_a_history_is_read_page_by_page(pool: Pool, decider: Decider) -> None:
    document = new_id()
    await decider.decide([put(document, None), *(merge(document, {}) for _ in range(6))])
    seen, after = list[int](), None
    while True:
        page = await asked(pool, "record.history", document, kind="document", limit=3, after=after)
        seen += [change["sequence"] for change in page["records"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [1, 2, 3, 4, 5, 6, 7]


async def test_the_history_of_an_unknown_record_is_not_found(pool: Pool, decider: Decider) -> None:
    document = new_id()
    await decider.decide([put(document, 5)])
    assert await refused(pool, "record.history", document, kind="document") is Code.NOT_FOUND
    assert await refused(pool, "record.history", new_id(), kind="stack") is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("query", "subject", "filters"),
    [
        ("document.get", "", {}),
        ("document.get", "x" * 256, {}),
        ("stack.get", "no uuid", {}),
        ("stack.get", "", {}),
        ("command.get", "no uuid", {}),
        ("stack.list", "", {"after": "no uuid"}),
        ("record.history", "no uuid", {"kind": "stack"}),
        ("record.history", "x", {"kind": "document", "after": "no number"}),
        ("record.history", "x", {"kind": "document", "after": "9" * 30}),
        ("record.history", "x", {"kind": "document", "after": "9" * 255}),
        ("record.history", "x", {"kind": "document", "after": "1.5"}),
    ],
)
async def test_a_subject_or_cursor_that_cannot_be_one_raises_value_error(
    pool: Pool, query: str, subject: str, filters: JsonObject
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        await read(pool, query, subject, QUERIES[query].model_validate(filters))


async def test_a_subject_with_odd_characters_is_a_subject_like_any_other(pool: Pool, decider: Decider) -> None:
    for document in ("'; DROP TABLE documents; --", "é😀\u2028", " ", "x" * 255):
        await decider.decide([put(document, None)])
        assert (await read(pool, "document.get", document, NoFilters())) == {
            "record": {"id": document, "generation": 0, "body": {}},
            "sequence": 1,
        }
