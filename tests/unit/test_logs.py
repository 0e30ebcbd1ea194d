"""Every line that the service can log has an action and is one line of JSON, or one that a person reads."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from genlock.consumers.process import logs
from genlock.service.log_actions import ACTIONS, FIELDS
from genlock.service.settings import Settings
from scripts.reference.log_calls import Call, calls

CALLS = calls()


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


def test_every_action_is_one_that_is_described() -> None:
    """`library` is the action of lines that are not the service's own."""
    assert [call for call in CALLS if call.action not in ACTIONS] == []
    assert {call.action for call in CALLS} | {"library"} == ACTIONS.keys()


def test_every_field_is_one_that_is_described() -> None:
    assert {field for call in CALLS for field in call.all_fields} == FIELDS.keys()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.place)
@pytest.mark.usefixtures("restored")
def test_record_is_one_line_with_an_action(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    event = call.event or "A sentence that is made elsewhere."
    for log_format in ("json", "text"):
        logs.configure(Settings(log_format=log_format, log_level="debug"))
        fields = dict.fromkeys(call.fields, 'a value with a\nline break, "quotes" and ü')
        getattr(structlog.get_logger(), call.method)(event, **fields | {"action": call.action})
        written = capsys.readouterr().err
        if log_format == "json":
            (line,) = written.splitlines()
            record = json.loads(line)
            assert record["action"] == call.action
            assert record["event"] == event
            assert {"level", "timestamp", *call.fields} <= record.keys()
        else:
            assert event in written


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
    """As the outcome log asks for each batch: a line that is not shown must not be formatted either."""
    logs.configure(Settings(log_format="json", log_level=log_level))
    log = structlog.get_logger()
    assert log.is_enabled_for(logging.DEBUG) is shown
    log.debug("event", action="test")
    log.info("event", action="test")
    assert len(capsys.readouterr().err.splitlines()) == 1 + shown
