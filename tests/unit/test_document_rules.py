"""The rules of documents, each outcome of each command."""

from dataclasses import replace

import pytest

from genlock.schemas.base import compact_json
from genlock.schemas.codes import Code, Reason
from genlock.schemas.decode import Command
from genlock.schemas.documents import DocumentState
from genlock.schemas.outcomes import GenerationToken
from genlock.service.deciding.json_text import JsonText
from genlock.service.deciding.verdicts import RETRY_AFTER_MS
from genlock.service.kinds.documents.record import Document
from genlock.service.kinds.documents.rules import merged
from tests.support.factories import (
    Json,
    accepted,
    command,
    conflicting,
    decided,
    delete_document,
    deleted_document,
    document_at,
    document_in,
    key,
    merge,
    put,
    state_of,
    turned_down,
)

DOCUMENT_BYTES_MAX = 512 * 1024


def of_bytes(count: int) -> Json:
    """A document of exactly this size as compact JSON, mostly of characters of two bytes."""
    body = {"é": "é" * ((count - 20) // 2)}
    body["x"] = "x" * (count - len(compact_json(body | {"x": ""}).encode()))
    assert len(compact_json(body).encode()) == count
    return body


@pytest.mark.parametrize("create", [put("new", None, {"a": 1}), merge("new", {"a": 1}, expected_generation=None)])
def test_document_is_created_at_generation_0_and_sequence_1(create: Command) -> None:
    state = state_of()
    verdict = accepted(state, create)
    assert (verdict.kind, verdict.id, verdict.sequence) == ("document", "new", 1)
    assert verdict.token == GenerationToken(generation=0)
    assert verdict.record == {"id": "new", "generation": 0, "body": {"a": 1}}
    document = document_in(state, "new")
    assert (document.generation, document.sequence, document.body) == (0, 1, JsonText({"a": 1}))
    assert (document.maker.command_id, document.maker.type) == (create.id, create.type)
    assert (document.maker.source, document.maker.time) == ("/tests", "2026-03-01T12:00:00.000000Z")


def test_created_document_merges_its_patch_into_nothing() -> None:
    verdict = accepted(state_of(), merge("new", {"a": {"b": None, "c": 1}, "d": None}, expected_generation=None))
    assert verdict.record == {"id": "new", "generation": 0, "body": {"a": {"c": 1}}}


def test_put_replaces_the_whole_body_and_takes_the_next_generation() -> None:
    document = document_at(7, {"a": 1, "b": 2})
    state = state_of(document)
    verdict = accepted(state, put(document.id, 7, {"c": 3}))
    assert verdict.token == GenerationToken(generation=8)
    assert verdict.sequence == document.sequence + 1
    assert verdict.record == {"id": document.id, "generation": 8, "body": {"c": 3}}
    assert document_in(state, document.id).body == {"c": 3}


def test_merge_keeps_what_its_patch_does_not_name() -> None:
    document = document_at(7, {"a": 1, "b": 2})
    verdict = accepted(state_of(document), merge(document.id, {"b": None, "c": 3}, expected_generation=7))
    assert verdict.record == {"id": document.id, "generation": 8, "body": {"a": 1, "c": 3}}


def test_merge_without_expected_generation_is_applied_to_whatever_is_current() -> None:
    document = document_at(7)
    verdict = accepted(state_of(document), merge(document.id, {"a": 1}))
    assert verdict.token == GenerationToken(generation=8)


@pytest.mark.parametrize("document", [None, deleted_document(4)])
def test_merge_without_expected_generation_does_not_create(document: Document | None) -> None:
    state = state_of(*[document] if document else [])
    verdict = turned_down(state, merge(document.id if document else "none", {"a": 1}))
    assert verdict.code is Code.NOT_FOUND
    assert verdict.sequence == (5 if document else 0)


def test_delete_takes_the_next_generation_and_leaves_a_tombstone() -> None:
    document = document_at(7)
    state = state_of(document)
    verdict = accepted(state, delete_document(document.id, 7))
    assert verdict.record is None
    assert verdict.token == GenerationToken(generation=8)
    assert document_in(state, document.id).deleted


@pytest.mark.parametrize("verb", ["put", "merge"])
def test_document_created_again_continues_the_generation(verb: str) -> None:
    document = deleted_document(8)
    create = put(document.id, None) if verb == "put" else merge(document.id, {}, expected_generation=None)
    verdict = accepted(state_of(document), create)
    assert verdict.token == GenerationToken(generation=9)
    assert verdict.sequence == document.sequence + 1
    assert verdict.record == {"id": document.id, "generation": 9, "body": {}}


def test_author_who_read_the_document_before_its_deletion_is_stale() -> None:
    state = state_of()
    accepted(state, put("d", None), put("d", 0), delete_document("d", 1), put("d", None))
    verdict = conflicting(state, put("d", 1))
    assert (verdict.reason, verdict.actual) == (Reason.STALE, GenerationToken(generation=3))


def on(document: Document, verb: str, expected: int) -> Command:
    match verb:
        case "put":
            return put(document.id, expected, {"new": True})
        case "merge":
            return merge(document.id, {"new": True}, expected_generation=expected)
        case _:
            return delete_document(document.id, expected)


@pytest.mark.parametrize("verb", ["put", "merge", "delete"])
@pytest.mark.parametrize(
    ("expected", "reason"), [(0, Reason.STALE), (6, Reason.STALE), (8, Reason.AHEAD), (2**63 - 1, Reason.AHEAD)]
)
def test_other_generation_is_not_applied(verb: str, expected: int, reason: Reason) -> None:
    document = document_at(7)
    state = state_of(document)
    sent = on(document, verb, expected)
    verdict = conflicting(state, sent)
    assert verdict.reason is reason
    assert (verdict.kind, verdict.id, verdict.sequence) == ("document", document.id, 8)
    assert verdict.expected == GenerationToken(generation=expected)
    assert verdict.actual == GenerationToken(generation=7)
    assert verdict.winner == document.maker.winner
    assert verdict.current == {"id": document.id, "generation": 7, "body": document.body}
    assert verdict.command == sent.echo
    assert verdict.retry.allowed
    assert state.records == {key(document): document}


@pytest.mark.parametrize("verb", ["put", "merge"])
def test_document_that_exists_is_not_created(verb: str) -> None:
    document = document_at(7)
    create = put(document.id, None) if verb == "put" else merge(document.id, {}, expected_generation=None)
    verdict = conflicting(state_of(document), create)
    assert (verdict.reason, verdict.expected) == (Reason.EXISTS, None)
    assert verdict.actual == GenerationToken(generation=7)
    assert verdict.winner == document.maker.winner
    assert verdict.current == document.state()


@pytest.mark.parametrize("verb", ["put", "merge", "delete"])
def test_document_that_never_was_is_missing(verb: str) -> None:
    verdict = conflicting(state_of(), on(document_at(0), verb, 3))
    assert (verdict.reason, verdict.sequence) == (Reason.MISSING, 0)
    assert verdict.expected == GenerationToken(generation=3)
    assert verdict.actual is None
    assert verdict.winner is None
    assert verdict.current is None


@pytest.mark.parametrize("verb", ["put", "merge", "delete"])
@pytest.mark.parametrize("expected", [3, 4])
def test_deleted_document_is_missing_and_its_winner_is_its_deleter(verb: str, expected: int) -> None:
    document = deleted_document(4)
    verdict = conflicting(state_of(document), on(document, verb, expected))
    assert (verdict.reason, verdict.sequence) == (Reason.MISSING, 5)
    assert verdict.actual is None
    assert verdict.current is None
    assert verdict.winner == document.maker.winner


def test_first_of_two_authors_wins_and_the_second_is_told_the_winner() -> None:
    document = document_at(7)
    first, second = put(document.id, 7, {"by": 1}), put(document.id, 7, {"by": 2})
    state = state_of(document)
    verdict = conflicting(state, first, second)
    assert verdict.reason is Reason.STALE
    assert verdict.winner is not None
    assert verdict.winner.command_id == first.id
    assert verdict.current == {"id": document.id, "generation": 8, "body": {"by": 1}}
    assert document_in(state, document.id).body == {"by": 1}


@pytest.mark.parametrize("extra", [0, 1])
def test_put_of_a_document_is_too_large_past_512_kib(extra: int) -> None:
    verdict = decided(state_of(), put("d", None, of_bytes(DOCUMENT_BYTES_MAX + extra)))
    assert getattr(verdict, "code", None) == (Code.TOO_LARGE if extra else None)


@pytest.mark.parametrize("extra", [0, 1])
def test_merge_is_too_large_where_the_merged_document_would_be(extra: int) -> None:
    document = document_at(0, of_bytes(DOCUMENT_BYTES_MAX - len(b',"y":""') - 1))
    state = state_of(document)
    verdict = decided(state, merge(document.id, {"y": "y" * (1 + extra)}))
    assert getattr(verdict, "code", None) == (Code.TOO_LARGE if extra else None)
    assert document_in(state, document.id).generation == (0 if extra else 1)


def test_merge_that_makes_the_document_small_again_is_applied() -> None:
    document = document_at(0, of_bytes(DOCUMENT_BYTES_MAX))
    assert accepted(state_of(document), merge(document.id, {"é": None, "x": "now"})).record is not None


def test_size_is_checked_before_the_token() -> None:
    document = document_at(3)
    verdict = turned_down(state_of(document), put(document.id, 1, of_bytes(DOCUMENT_BYTES_MAX + 1)))
    assert verdict.code is Code.TOO_LARGE


@pytest.mark.parametrize("attempt", [1, 3, 2**63 - 1])
def test_a_conflict_may_be_tried_again_and_counts_the_attempts(attempt: int) -> None:
    document = document_at(7)
    retry = conflicting(state_of(document), put(document.id, 6, attempt=attempt)).retry
    assert (retry.allowed, retry.attempt, retry.after_ms) == (True, attempt, RETRY_AFTER_MS)


def test_attempt_is_the_first_one_where_none_is_given() -> None:
    document = document_at(7)
    assert conflicting(state_of(document), put(document.id, 6)).retry.attempt == 1


RFC_7396_APPENDIX_A = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("original", "patch", "result"), RFC_7396_APPENDIX_A)
def test_merging_follows_the_examples_of_rfc_7396(original: object, patch: object, result: object) -> None:
    assert merged(original, patch) == result


@pytest.mark.parametrize(
    ("original", "patch", "result"),
    [example for example in RFC_7396_APPENDIX_A if isinstance(example[0], dict) and isinstance(example[1], dict)],
)
def test_merge_command_follows_the_examples_of_rfc_7396(original: Json, patch: Json, result: Json) -> None:
    document = document_at(0, original)
    verdict = accepted(state_of(document), merge(document.id, patch))
    assert verdict.record is not None
    assert verdict.record["body"] == result


def test_document_of_an_odd_name_is_another_document() -> None:
    document = replace(document_at(3), id="Server é")
    verdict = accepted(state_of(document), command("document.delete", "Server é", {"expected_generation": 3}))
    assert verdict.id == "Server é"
    assert conflicting(state_of(document), delete_document("server é", 3)).reason is Reason.MISSING


def test_state_of_a_document_is_what_readers_take_it_for() -> None:
    document = document_at(3)
    assert DocumentState.model_validate(document.state()).model_dump() == document.state()
