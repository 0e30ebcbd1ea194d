"""Every line that the service can log has an action and is one line of JSON, or one that a person reads."""

import ast
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

import genlock.consumers
import genlock.service
from genlock.consumers import logs
from genlock.service.settings import Settings

LEVELS = {"debug", "info", "warning", "error", "exception"}


@dataclass(frozen=True)
class Call:
    """A call of the logger, as it stands in the source."""

    place: str
    level: str
    event: object
    action: object
    fields: tuple[str, ...]


def _calls() -> list[Call]:
    found = []
    for package in (genlock.service, genlock.consumers):
        for file in Path(package.__path__[0]).rglob("*.py"):
            found += [_read(f"{file.name}:{node.lineno}", node) for node in _log_nodes(ast.parse(file.read_text()))]
    return found


def _log_nodes(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=attr)) if attr in LEVELS:
                yield node


def _read(place: str, node: ast.Call) -> Call:
    assert isinstance(node.func, ast.Attribute)
    fields = {keyword.arg: keyword.value for keyword in node.keywords}
    # `**named` stands for the fields that every decided command is logged with, the action among them.
    action = "decide" if None in fields else ast.literal_eval(fields["action"]) if "action" in fields else None
    names = tuple(name for name in fields if name is not None)
    return Call(place, node.func.attr, ast.literal_eval(node.args[0]), action, names)


CALLS = _calls()


@pytest.fixture
def restored() -> Iterator[None]:
    """The logging of the test run, put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    libraries = {name: logging.getLogger(name).level for name in logs.SILENCED}
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)
    for name, value in libraries.items():
        logging.getLogger(name).setLevel(value)


def test_service_logs_at_all() -> None:
    assert len(CALLS) > 20


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.place)
@pytest.mark.usefixtures("restored")
def test_record_is_one_line_with_an_action(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(call.event, str)
    assert isinstance(call.action, str)
    for log_format in ("json", "text"):
        logs.configure(Settings(log_format=log_format, log_level="debug"))
        fields = dict.fromkeys(call.fields, 'a value with a\nline break, "quotes" and ü')
        getattr(structlog.get_logger(), call.level)(call.event, **fields | {"action": call.action})
        written = capsys.readouterr().err
        if log_format == "json":
            (line,) = written.splitlines()
            record = json.loads(line)
            assert record["action"] == call.action
            assert record["event"] == call.event
            assert {"level", "timestamp", *call.fields} <= record.keys()
        else:
            assert call.event in written


@pytest.mark.usefixtures("restored")
def test_line_of_a_library_has_an_action_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json"))
    logging.getLogger("aiohttp").warning("something from %s", "elsewhere")
    record = json.loads(capsys.readouterr().err)
    assert record["action"] == "library"
    assert record["event"] == "something from elsewhere"


@pytest.mark.parametrize(("log_level", "shown"), [("debug", True), ("info", False)])
@pytest.mark.usefixtures("restored")
def test_logger_tells_whether_a_level_is_shown(
    log_level: str, capsys: pytest.CaptureFixture[str], *, shown: bool
) -> None:
    """As it is asked for each batch: what is not shown must not be put together either."""
    logs.configure(Settings(log_format="json", log_level=log_level))
    log = structlog.get_logger()
    assert log.is_enabled_for(logging.DEBUG) is shown
    log.debug("event", action="test")
    log.info("event", action="test")
    assert len(capsys.readouterr().err.splitlines()) == 1 + shown
