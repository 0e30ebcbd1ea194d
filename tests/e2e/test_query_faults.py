"""Each query and each code that it may be answered with: the error tells its faults as data."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from genlock.schemas.answers import ErrorData
from genlock.schemas.codes import Code
from genlock.schemas.queries import ANY_QUERY, QUERIES, QUERY_SUBJECTS
from genlock.service.settings import Settings
from tests.e2e.test_queries import Asker, asker
from tests.support.factories import Json, new_id
from tests.support.harness import serving
from tests.support.told_faults import check_entries

__all__ = ["asker"]

ABSENT = "00000000-0000-4000-8000-00000000ABCD"
"""An id that no record has, in capitals."""

REFUSED: Mapping[tuple[str, Code], Json] = {
    ("provider.list", Code.UNKNOWN_TRAIT): {"required": ["CUSTOM_A", "in:HW_CPU_X86_AVX2,HW_CPU_X86_AVX_2"]},
    ("provider.list", Code.UNKNOWN_RESOURCE_CLASS): {"resources": {"VCPU": 1, "VCPUU": 1}},
    **{(name, Code.NOT_FOUND): {} for name, filters in QUERIES.items() if Code.NOT_FOUND in filters.errors},
    ("record.history", Code.NOT_FOUND): {"kind": "stack"},
}


@pytest.fixture
async def served(settings: Settings) -> AsyncIterator[None]:
    """A replica serves."""
    async with serving(settings):
        yield


def told(query: str, subject: str | None, filters: Json, answer: Json) -> ErrorData:
    """The error of an answer, whose entries point into the query."""
    error = ErrorData.model_validate(answer["error"], strict=False)
    check_entries(error.errors, {"type": query, "subject": subject, "data": filters})
    assert {entry.code for entry in error.errors} == {error.code}
    return error


def test_each_code_of_each_query_has_an_example() -> None:
    """`internal_error` and `too_large` are those of tests/e2e/test_queries.py."""
    assert REFUSED.keys() == {(name, code) for name, filters in QUERIES.items() for code in filters.errors}
    assert set(ANY_QUERY) == {Code.INVALID_DATA, Code.TOO_LARGE, Code.ROUTING_KEY_MISMATCH, Code.INTERNAL_ERROR}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]}-{case[1]}")
@pytest.mark.usefixtures("served")
async def test_error_tells_its_faults(asker: Asker, case: tuple[str, Code]) -> None:
    name, code = case
    filters = REFUSED[case]
    subject = ABSENT if name in QUERY_SUBJECTS else None
    error = told(name, subject, filters, await asker.ask(name, subject, **filters))
    (entry,) = error.errors
    assert (error.code, entry.message in error.message or bool(entry.suggestions)) == (code, True)
    assert entry.value in {ABSENT, "VCPUU", "HW_CPU_X86_AVX_2"}
    assert bool(entry.suggestions) == (code is not Code.NOT_FOUND)
    if code is Code.NOT_FOUND and name != "command.get" and not name.endswith(".outcome"):
        assert entry.kind in {"provider", "consumer", "stack", "document"}
        assert (entry.id or "").lower() == ABSENT.lower()


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.usefixtures("served")
async def test_invalid_filter_and_subject_are_told(asker: Asker, name: str) -> None:
    subject: Any = new_id() if name in QUERY_SUBJECTS else None
    needed = {"kind": "document"} if name == "record.history" else {}
    filters = {"limt": 5, **needed}
    error = told(name, subject, filters, await asker.ask(name, subject, **filters))
    (entry,) = error.errors
    assert (error.code, entry.pointer, entry.value) == (Code.INVALID_DATA, "/data/limt", "limt")
    assert entry.suggestions == (["limit"] if "limit" in QUERIES[name].model_fields else [])
    if name in QUERY_SUBJECTS:
        error = told(name, "", needed, await asker.ask(name, "", **needed))
        assert (error.code, error.errors[0].pointer, error.errors[0].value) == (Code.INVALID_DATA, "/subject", "")
        error = told(name, None, needed, await asker.ask(name, None, **needed))
        assert (error.errors[0].pointer, error.errors[0].constraints) == ("/subject", {"required": True})


@pytest.mark.usefixtures("served")
async def test_type_that_is_none_and_cursor_that_is_none_are_told(asker: Asker) -> None:
    error = told("provider.lst", None, {}, await asker.ask("provider.lst"))
    assert (error.code, error.errors[0].value) == (Code.UNKNOWN_TYPE, "provider.lst")
    assert error.errors[0].suggestions[0] == "provider.list"
    cursor = {"after": "nonsense"}
    error = told("provider.list", None, cursor, await asker.ask("provider.list", **cursor))
    assert (error.errors[0].pointer, error.errors[0].value) == ("/data/after", "nonsense")
    action = {"action": "CREAT"}
    error = told("stack.list", None, action, await asker.ask("stack.list", **action))
    assert (error.errors[0].value, error.errors[0].suggestions[0]) == ("CREAT", "CREATE")


@pytest.mark.usefixtures("served")
async def test_ten_thousand_faults_of_a_query_are_counted_and_bounded(asker: Asker) -> None:
    filters = {f"no_filter_{number}": 1 for number in range(10_000)}
    answer = await asker.ask("document.get", "x", **filters)
    error = told("document.get", "x", filters, answer)
    assert (len(error.errors), error.errors_total) == (100, 10_000)
    assert len(error.message) < 2_000
