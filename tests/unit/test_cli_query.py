"""`genlock query`, with a client that answers from a list: what it asks, and what it prints where."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import genlock
from genlock.cli import main, messages
from genlock.schemas.base import JsonObject

RECORDS = [{"id": "a", "resources": {"VCPU": 1}}, {"id": "b\x1b[31m", "resources": {}, "more": None}]
PAGE: JsonObject = {"records": RECORDS, "next": "b", "generation": 7}


class AnsweringClient:
    """Gives the same answer to each query, its records one by one, and records the queries."""

    def __init__(self, answer: JsonObject | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str | None, JsonObject]] = []

    async def query(self, query: str, subject: str | None = None, /, **filters: Any) -> JsonObject:
        self.asked.append((query, subject, filters))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def records(self, query: str, subject: str | None = None, /, **filters: Any) -> AsyncIterator[JsonObject]:
        for record in (await self.query(query, subject, **filters))["records"]:
            yield record


def answering(monkeypatch: pytest.MonkeyPatch, answer: JsonObject | Exception, *, terminal: bool) -> AnsweringClient:
    client = AnsweringClient(answer)

    @asynccontextmanager
    async def connect(_url: str, **_settings: Any) -> AsyncIterator[AnsweringClient]:
        yield client

    monkeypatch.setattr(messages, "connect", connect)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "160")
    return client


def plain(shown: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", shown)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["query", *arguments])
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_page_is_printed_as_it_came_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = answering(monkeypatch, PAGE, terminal=False)
    assert run("provider.list", "--data", '{"limit": 2, "required": ["CUSTOM_A"]}') == 0
    assert client.asked == [("provider.list", None, {"limit": 2, "required": ["CUSTOM_A"]})]
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line) == PAGE


def test_all_pages_are_printed_a_record_on_each_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = answering(monkeypatch, PAGE, terminal=True)
    assert run("provider.usages", "p", "--all", "--json") == 0
    assert client.asked == [("provider.usages", "p", {})]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == RECORDS


def test_records_are_rows_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answering(monkeypatch, PAGE, terminal=True)
    assert run("provider.list") == 0
    shown = plain(capsys.readouterr().out)
    assert {"id", "resources", "more"} <= set(shown.split())
    assert '{"VCPU": 1}' in shown
    assert "generation 7" in shown
    assert "--all" in shown
    # Text from another client does not colour the terminal.
    assert "b\N{REPLACEMENT CHARACTER}[31m" in shown


def test_all_rows_are_one_table_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, PAGE, terminal=True)
    assert run("provider.list", "--all") == 0
    shown = capsys.readouterr().out
    assert shown.count("resources") == 1
    assert "--all" not in shown


@pytest.mark.parametrize(
    "answer", [{"record": {"id": "x", "generation": 3}, "sequence": 4}, {"id": "x", "generation": 3}]
)
def test_record_is_shown_field_by_field_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: JsonObject
) -> None:
    answering(monkeypatch, answer, terminal=True)
    assert run("consumer.get", "x") == 0
    assert "│ generation │ 3 │" in plain(capsys.readouterr().out)


def test_error_of_the_service_is_1_and_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENLOCK_AMQP_URL", "amqp://named/")
    answering(monkeypatch, genlock.QueryFailed("not_found", "There is no consumer x."), terminal=False)
    for more in ([], ["--all"]):
        assert run("consumer.get", "x", *more) == 1
        assert capsys.readouterr().err == "genlock: There is no consumer x.\n"


@pytest.mark.parametrize("arguments", [[], ["provider.list", "--data", "[]"], ["provider.list", "--data", "{"]])
def test_wrong_usage_is_2_and_asks_nothing(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    client = answering(monkeypatch, PAGE, terminal=False)
    assert run(*arguments) == 2
    assert client.asked == []
