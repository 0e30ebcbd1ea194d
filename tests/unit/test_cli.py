"""The command line, with a client that answers from a list: input, output and exit codes."""

import io
import json
import re
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import genlock
from genlock.cli import main, messages
from genlock.cli.failure import sentence
from genlock.cli.output import explain
from genlock.cli.settings_table import address, masked
from genlock.cli.terminal import plain
from genlock.schemas.base import JsonObject
from genlock.schemas.outcomes import Outcome, parse_outcome
from genlock.service.settings import Settings

ID = "0190a0a0-0000-7000-8000-000000000001"
TOKEN = {"generation": 3}
WINNER = {"command_id": ID, "type": "document.put", "source": "/other", "time": "2026-01-31T12:00:00Z"}
RECORD = {"kind": "document", "id": "x", "sequence": 1}
DATA: dict[str, JsonObject] = {
    "succeeded": RECORD | {"record": {"id": "x", "generation": 3, "body": {}}, "token": TOKEN},
    "conflict": RECORD
    | {
        "reason": "stale",
        "expected": {"generation": 2},
        "actual": TOKEN,
        "winner": WINNER,
        "retry": {"allowed": True, "attempt": 1, "after_ms": 10},
    },
    "rejected": RECORD
    | {"code": "invalid_data", "message": "Not valid.", "errors": [{"path": "data.body", "message": "Field required"}]},
}


def outcome(verdict: str, command_id: str = ID, **changes: Any) -> Outcome:
    event = {
        "specversion": "1.0",
        "id": ID,
        "source": "/genlock",
        "type": f"document.put.{verdict}",
        "subject": "x",
        "time": "2026-01-31T12:00:00Z",
        "correlationid": command_id,
        "causationid": command_id,
        "attempt": 1,
        "data": DATA[verdict] | changes,
    }
    return parse_outcome(json.dumps(event))


class ListClient:
    """Answers each command with the next verdict of a list, and records the commands."""

    def __init__(self, verdicts: list[str | Exception]) -> None:
        self.verdicts: Iterator[str | Exception] = iter(verdicts)
        self.sent: list[JsonObject] = []

    async def send_envelope(self, members: JsonObject) -> Outcome:
        self.sent.append(members)
        verdict = next(self.verdicts)
        if isinstance(verdict, Exception):
            raise verdict
        return outcome(verdict, members["id"])

    async def send_bulk_envelopes(self, members: Iterable[JsonObject]) -> list[Outcome]:
        return [await self.send_envelope(one) for one in members]

    async def get(self, kind: str, record_id: str) -> genlock.DocumentState | None:
        known = (kind, record_id) == ("document", "x")
        return genlock.DocumentState(id="x", generation=3, body={"a": 1}) if known else None

    @asynccontextmanager
    async def events(self, _pattern: str) -> AsyncIterator[AsyncIterator[Outcome]]:
        async def events() -> AsyncIterator[Outcome]:
            for verdict in self.verdicts:
                yield outcome(str(verdict))

        yield events()


def _answer(monkeypatch: pytest.MonkeyPatch, *verdicts: str | Exception) -> ListClient:
    client = ListClient(list(verdicts))

    @asynccontextmanager
    async def connect(_url: str, **_settings: Any) -> AsyncIterator[ListClient]:
        yield client

    monkeypatch.setattr(messages, "connect", connect)
    return client


def _stdin(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    code = ended.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["succeeded"], 0),
        (["conflict"], 3),
        (["rejected"], 4),
        (["succeeded", "conflict", "succeeded"], 3),
        (["rejected", "conflict", "succeeded"], 4),
        ([], 0),
    ],
)
@pytest.mark.parametrize("concurrency", ["1", "3"])
def test_exit_code_is_that_of_the_worst_outcome(
    monkeypatch: pytest.MonkeyPatch, verdicts: list[str], code: int, concurrency: str
) -> None:
    client = _answer(monkeypatch, *verdicts)
    _stdin(monkeypatch, b'{"type": "document.put"}\n' * len(verdicts))
    assert _run("send", "-", "--concurrency", concurrency) == code
    assert len(client.sent) == len(verdicts)


def test_no_answer_ends_with_1_and_names_the_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = _answer(monkeypatch, "succeeded", genlock.NoAnswer("There is no answer in time.", ID))
    _stdin(monkeypatch, b'{"type": "document.put"}\n' * 3)
    assert _run("send", "-") == 1
    assert len(client.sent) == 2
    captured = capsys.readouterr()
    assert ID in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.out.splitlines()) == 1


def test_a_bulk_without_an_answer_names_all_ids(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = _answer(monkeypatch, genlock.NoAnswer("There is no answer within 30 s."))
    _stdin(monkeypatch, b'{"type": "document.put"}\n{"type": "document.put", "id": "' + ID.encode() + b'"}\n')
    assert _run("send", "-", "--bulk") == 1
    first, *ids = capsys.readouterr().err.splitlines()[-3:]
    assert first.startswith("genlock: There is no answer within 30 s. The fate of these commands is open; send them")
    assert ids == [f"genlock: {client.sent[0]['id']}", f"genlock: {ID}"]


def test_a_query_without_an_answer_does_not_say_that_it_may_be_applied() -> None:
    assert sentence(genlock.NoAnswer("There is no answer within 1 s.")) == "There is no answer within 1 s."
    waits = sentence(genlock.NoService("No service consumes genlock.inbox: …", ID))
    assert waits == f"No service consumes genlock.inbox: … Its id is {ID}."


def test_arguments_make_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    client = _answer(monkeypatch, "succeeded")
    assert _run("send", "document.put", "x", "--data", '{"body": {}}', "--id", ID, "--source", "/me") == 0
    sent = client.sent[0]
    sent.pop("time")
    assert sent == {
        "specversion": "1.0",
        "id": ID,
        "source": "/me",
        "type": "document.put",
        "subject": "x",
        "data": {"body": {}},
    }


def test_a_file_is_sent_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client = _answer(monkeypatch, *["succeeded"] * 5)
    file = tmp_path / "commands.jsonl"
    lines = "\n".join(json.dumps({"type": "a", "subject": str(n)}) for n in range(5))
    file.write_text(lines, encoding="utf-8-sig")
    assert _run("send", "--file", str(file)) == 0
    assert [sent["subject"] for sent in client.sent] == list("01234")


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"data": {}}', b'{"type": "a", "id": "5"}', b"\xff", b'{"type": NaN}'])
def test_a_bad_line_is_usage_and_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: bytes
) -> None:
    client = _answer(monkeypatch)
    _stdin(monkeypatch, b'{"type": "document.put"}\n\n' + line)
    assert _run("send", "-") == 2
    assert "Line 3" in capsys.readouterr().err
    assert client.sent == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["send"],
        ["send", "-", "x"],
        ["send", "-", "--data", "{}"],
        ["send", "document.put", "--data", "[]"],
        ["send", "document.put", "--data", "{"],
        ["send", "document.put", "--id", "5"],
        ["send", "document.put", "--namespace", "a b"],
        ["send", "document.put", "--concurrency", "0"],
        ["send", "--file", "/nonexistent"],
        ["get", "document"],
        ["tail", "--count", "0"],
        ["nonsense"],
        [],
    ],
)
def test_wrong_usage_is_2(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    client = _answer(monkeypatch)
    assert _run(*arguments) == 2
    assert client.sent == []


def test_outcomes_are_full_events_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _answer(monkeypatch, "conflict")
    _run("send", "document.put", "x", "--id", ID)
    assert json.loads(capsys.readouterr().out) == json.loads(outcome("conflict").model_dump_json(exclude_unset=True))


def test_outcomes_are_a_table_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _answer(monkeypatch, "succeeded", "conflict")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _stdin(monkeypatch, b'{"type": "document.put"}\n' * 2)
    _run("send", "-")
    header, first, second = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert header.split()[:3] == ["outcome", "command", "subject"]
    assert "generation 3" in first
    assert "stale: expected generation 2, actual generation 3, by document.put from /other" in second


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (outcome("succeeded"), "generation 3"),
        (outcome("succeeded", record=None), "deleted, generation 3"),
        (outcome("succeeded", token={"traversal": ID}), f"traversal {ID}"),
        (
            outcome("conflict", reason="missing", actual=None, winner=None),
            "missing: expected generation 2, actual nothing",
        ),
        (outcome("rejected"), "invalid_data: Not valid. data.body: Field required."),
    ],
)
def test_outcomes_are_explained(event: Outcome, text: str) -> None:
    assert explain(event) == text


def test_a_terminal_is_never_sent_what_it_would_obey() -> None:
    assert (
        plain("a\x1b[31mb\x9bc\nä")
        == "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}ä"
    )


def test_get_prints_the_record(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _answer(monkeypatch)
    assert _run("get", "document", "x") == 0
    assert json.loads(capsys.readouterr().out) == {"id": "x", "generation": 3, "body": {"a": 1}}


def test_get_of_nothing_is_1_and_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _answer(monkeypatch)
    monkeypatch.setenv("GENLOCK_AMQP_URL", "amqp://named/")
    assert _run("get", "document", "y") == 1
    assert capsys.readouterr().err == "genlock: There is no document y.\n"


@pytest.mark.parametrize("arguments", [("get", "document", "y"), ("send", "document.put", "x"), ("tail", "-n", "1")])
def test_broker_that_was_not_named_is_told(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _answer(monkeypatch, "succeeded", "succeeded")
    monkeypatch.delenv("GENLOCK_AMQP_URL", raising=False)
    said = "genlock: GENLOCK_AMQP_URL is not set; asking RabbitMQ at localhost:5672.\n"
    _run(*arguments)
    assert said in capsys.readouterr().err
    _run(*arguments, "--amqp-url", "amqp://named/")
    assert said not in capsys.readouterr().err


def test_tail_ends_after_count_events(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _answer(monkeypatch, "succeeded", "conflict", "rejected")
    assert _run("tail", "document.#", "--count", "2") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_broker_that_is_not_there_is_1_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("send", "document.put", "--amqp-url", "amqp://user:secret@") == 2
    error = capsys.readouterr().err
    assert error == "genlock: The option --amqp-url (GENLOCK_AMQP_URL) is not valid: it names no host.\n"
    assert "secret" not in error


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://localhost/", "amqp://localhost/"),
        ("amqp://user@host/", "amqp://user@host/"),
        ("amqp://user:secret@host:1/vhost", "amqp://user:***@host:1/vhost"),
        ("amqp://user:sec@ret/@host/", "***"),
        ("amqp://:secret@host/", "amqp://:***@host/"),
        (
            "postgresql://host/db?user=u&password=secret&sslmode=require",
            "postgresql://host/db?user=u&password=***&sslmode=require",
        ),
        ("postgresql://host/db?pass%77ord=secret", "postgresql://host/db?pass%77ord=***"),
        ("postgresql://host/db?sslkey=secret", "postgresql://host/db?sslkey=***"),
        ("amqp://user@host/?password_file=secret", "amqp://user@host/?password_file=***"),
        (f"amqp://user@host/?password_file={__file__}", f"amqp://user@host/?password_file={__file__}"),
        ("secret", "***"),
    ],
)
def test_secrets_are_masked(url: str, shown: str) -> None:
    assert masked(SecretStr(url)) == shown


def test_an_address_holds_no_secret() -> None:
    assert address(SecretStr("postgresql://user:secret@host:1/db")) == "host:1"
    assert address(SecretStr("postgresql://user:secret@[::1/db")) == "***"


def test_settings_shows_every_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GENLOCK_AMQP_URL", "amqp://user:secret@host/")
    monkeypatch.setenv("GENLOCK_AMQP_PASSWORD_FILE", "secret")
    monkeypatch.setenv("GENLOCK_DATABASE_PASSWORD_FILE", __file__)
    monkeypatch.setenv("GENLOCK_BATCH_SIZE_MAX", "7")
    assert _run("settings", "--json") == 0
    rows = {row["variable"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {f"GENLOCK_{name.upper()}" for name in Settings.model_fields}
    assert all(row["description"] for row in rows.values())
    assert rows["GENLOCK_AMQP_URL"]["value"] == "amqp://user:***@host/"
    assert rows["GENLOCK_AMQP_PASSWORD_FILE"]["value"] == "***"
    assert rows["GENLOCK_DATABASE_PASSWORD_FILE"]["value"] == __file__
    assert (rows["GENLOCK_BATCH_SIZE_MAX"]["value"], rows["GENLOCK_BATCH_SIZE_MAX"]["default"]) == (7, 256)
    assert _run("settings") == 0
    table = capsys.readouterr().out
    assert "GENLOCK_AMQP_URL" in table
    assert "secret" not in table


def test_a_setting_that_is_not_valid_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENLOCK_PREFETCH", "secret")
    assert _run("settings") == 1
    error = capsys.readouterr().err
    assert error.startswith("genlock: The setting GENLOCK_PREFETCH is not valid")
    assert "secret" not in error


@pytest.mark.parametrize(
    "url", ["nonsense", "postgresql://user:sec/ret@host/db", "postgresql://user:secret@127.0.0.1:1/db"]
)
def test_a_database_that_cannot_be_had_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    monkeypatch.setenv("GENLOCK_DATABASE_URL", url)
    assert _run("migrate") == 1
    error = capsys.readouterr().err
    assert error.startswith("genlock: ")
    assert "sec" not in error
    assert len(error.splitlines()) == 1


def test_the_version_is_that_of_the_installed_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("--version") == 0
    assert capsys.readouterr().out == f"genlock {metadata.version('genlock')}\n"
    # A copy of the files that no package's metadata goes with.
    monkeypatch.setattr(metadata.MetadataPathFinder, "find_distributions", lambda *_: iter(()))
    assert _run("--version") == 1
    error = capsys.readouterr().err
    assert error.startswith("genlock: This copy of Genlock has no version")
    assert len(error.splitlines()) == 1
