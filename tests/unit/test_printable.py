"""What a terminal would obey never reaches it: by the log, or by the command line."""

import ast
import json
import logging
import sys
from typing import Any

import pytest
import structlog

from genlock.cli import main
from genlock.cli.output import OutcomePrinter, explain, print_fields, print_record, print_rows, told
from genlock.cli.terminal import say, say_json, say_uncaught
from genlock.consumers.process import logs
from genlock.errors import QueryFailed
from genlock.schemas.codes import Code
from genlock.schemas.faults import FieldError
from genlock.schemas.outcomes import parse_outcome
from genlock.schemas.printable import escaped, escaped_json
from genlock.service.settings import Settings
from tests.support.factories import event_of, merge, state_of, turned_down
from tests.support.paths import REPOSITORY
from tests.unit.test_logs import restored

__all__ = ["restored"]

EVIL = "\x1b]0;owned\x07\x9b31m\x7f\x85\u202ered"
"""ESC, BEL, CSI and NEL of C1, DEL, and a mark that turns the direction of writing."""

OBEYED = set("\x1b\x07\x9b\x7f\x85\u202e")


def is_harmless(text: str) -> bool:
    return not OBEYED & set(text)


class Oddity:
    """An object whose representation is not printable."""

    def __repr__(self) -> str:
        return EVIL


def test_escaped_text_is_printable_and_keeps_its_letters_and_lines() -> None:
    assert escaped(f"ä{EVIL}\n名") == "ä\\x1b]0;owned\\x07\\x9b31m\\x7f\\x85\\u202ered\n名"
    assert escaped("\U000e0001\ud800") == "\\U000e0001\\ud800"
    assert escaped("plain ä") == "plain ä"


@pytest.mark.parametrize("text", ["plain ä", EVIL, "\U000e0001\U0001f600", "\u2028"])
def test_escaped_json_says_the_same(text: str) -> None:
    written = json.dumps({text: [text]}, ensure_ascii=False, indent=1)
    assert json.loads(escaped_json(written)) == {text: [text]}
    assert escaped_json(written).replace("\n", "").isprintable()


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.usefixtures("restored")
def test_log_line_is_harmless_in_all_its_parts(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format=log_format, log_level="debug"))
    log = structlog.get_logger()
    fields: dict[str, Any] = {EVIL: EVIL, "why": EVIL, "token": {EVIL: [EVIL]}, "odd": Oddity(), "n": 1, "none": None}
    log.info(EVIL, action="test", **fields)
    logging.getLogger("aiohttp").warning("from %s", EVIL)
    log.error("failed", action="test", exception=f"Traceback of {EVIL}")
    try:
        int(EVIL)
    except ValueError:
        log.exception("failed", action="test")
        logging.getLogger("aiohttp").exception("library")
    written = capsys.readouterr().err
    assert "owned" in written
    assert "Traceback" in written
    # The renderer colours the lines itself, with nothing but these.
    own = {part.partition("m")[0] for part in written.split("\x1b[")[1:]} if log_format == "text" else set()
    for code in own:
        assert code.replace(";", "").isdecimal()
        written = written.replace(f"\x1b[{code}m", "")
    assert is_harmless(written)


def test_command_line_prints_through_one_module_alone() -> None:
    """And that replaces control characters."""
    calls = [
        (path.name, node.lineno)
        for path in sorted((REPOSITORY / "genlock" / "cli").glob("*.py"))
        if path.name != "terminal.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"typer.echo", "print", "click.echo", "typer.secho"}
    ]
    assert calls == []


def test_lines_and_json_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"one {EVIL}\ntwo")
    say(EVIL, err=True)
    say_json(json.dumps({"subject": EVIL}, ensure_ascii=False))
    written = capsys.readouterr()
    assert is_harmless(written.out + written.err)
    first, second, line = written.out.splitlines()
    assert (first[:4], second) == ("one ", "two")
    assert json.loads(line) == {"subject": EVIL}


def test_records_with_such_names_and_values_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    record = {EVIL: EVIL, "body": {EVIL: [EVIL]}}
    print_fields(record)
    print_rows([record])
    print_record(record, as_json=True)
    assert is_harmless(capsys.readouterr().out)


@pytest.mark.parametrize("as_json", [True, False])
def test_outcome_with_such_a_subject_is_harmless(*, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    sent = merge(EVIL, {EVIL: EVIL})
    outcome = parse_outcome(event_of(sent, turned_down(state_of(), sent)).body)
    OutcomePrinter(as_json=as_json).print(outcome)
    written = capsys.readouterr().out
    assert "owned" in written.replace("\n", "")
    assert is_harmless(written)


@pytest.mark.parametrize("error", [QueryFailed("not_found", f"No {EVIL}"), ValueError(EVIL)])
def test_errors_are_harmless(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def fail(_arguments: object) -> None:
        raise error

    monkeypatch.setattr("genlock.cli.app", fail)
    with pytest.raises((SystemExit, ValueError)):
        main(["settings"])
    say_uncaught(type(error), error, error.__traceback__)
    written = capsys.readouterr().err
    assert "owned" in written
    assert is_harmless(written)


# Faults, as a person reads them.


def test_faults_are_told_unless_the_message_tells_them() -> None:
    errors = [
        FieldError(code=Code.UNKNOWN_TRAIT, path="data.traits.0", message="A is none.", suggestions=["B", "C"]),
        FieldError(code=Code.NOT_FOUND, path="subject", message="There is no x."),
        FieldError(path="", message="Nowhere"),
    ]
    assert told("There is no x.", errors) == ["data.traits.0: A is none. Did you mean B or C?", "Nowhere."]


def test_ten_faults_are_told_and_how_many_more_there_are() -> None:
    errors = [FieldError(path=f"data.{number}", message="Wrong") for number in range(12)]
    sentences = told("Not valid.", errors)
    assert len(sentences) == 11
    assert sentences[-1] == "And 2 more; --json shows them."


def test_rejection_is_explained_once() -> None:
    sent = merge("absent", {})
    outcome = parse_outcome(event_of(sent, turned_down(state_of(), sent)).body)
    assert explain(outcome) == "not_found: There is no document 'absent' to merge into."
