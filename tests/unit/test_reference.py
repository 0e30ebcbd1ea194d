"""The pages in docs/reference/ are what the code says, and the code says something of everything on them."""

import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from genlock.consumers.health.http import StatusCollector
from genlock.consumers.health.instruments import INSTRUMENTS
from genlock.consumers.health.metrics import Metrics
from genlock.consumers.health.monitor import Status
from genlock.schemas.answers import ANSWERS
from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.codes import Code, Reason, VerdictName, Word
from genlock.schemas.decode import Refusal
from genlock.schemas.outcomes import parse_outcome
from genlock.schemas.queries import QUERIES
from genlock.service.ledger.events import verdict_name
from genlock.service.settings import Settings
from scripts.reference.commands import envelope_of
from scripts.reference.models import example_of
from scripts.reference.outcomes import example_event
from scripts.reference.pages import FOLDER, made, stale, write
from tests.support.factories import received

MADE = made()
WORDS: list[Word] = [*VerdictName, *Reason, *Code]


def test_pages_are_as_the_code_says() -> None:
    assert stale(FOLDER, MADE) == [], "run make reference"


@pytest.mark.parametrize("name", MADE)
def test_page_that_was_changed_or_removed_is_stale(name: str, tmp_path: Path) -> None:
    write(tmp_path, MADE)
    assert stale(tmp_path, MADE) == []
    page = tmp_path / name
    page.write_text(page.read_text().replace("e", "E", 1))
    assert stale(tmp_path, MADE) == [name]
    page.unlink()
    assert stale(tmp_path, MADE) == [name]


def test_page_of_nothing_is_stale_and_removed(tmp_path: Path) -> None:
    write(tmp_path, MADE)
    (tmp_path / "renamed.md").write_text("# Renamed")
    assert stale(tmp_path, MADE) == ["renamed.md"]
    write(tmp_path, MADE)
    assert stale(tmp_path, MADE) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_example_of_a_command_is_valid(name: str) -> None:
    command = received(envelope_of(COMMANDS[name]))
    assert not isinstance(command.data, Refusal), command.data
    assert command.type == name


@pytest.mark.parametrize("name", [name for name, model in QUERIES.items() if "json_schema_extra" in model.model_config])
def test_example_of_a_query_is_valid(name: str) -> None:
    QUERIES[name].model_validate(example_of(QUERIES[name]))


@pytest.mark.parametrize("verdict", VerdictName)
def test_example_of_an_outcome_is_an_event_with_that_verdict(verdict: VerdictName) -> None:
    outcome = parse_outcome(json.dumps(example_event(verdict)))
    assert verdict_name(outcome.data) is verdict
    assert outcome.data.model_extra is None


@pytest.mark.parametrize("word", WORDS)
def test_word_says_what_it_means_and_what_to_do(word: Word) -> None:
    sentences = [word.means, word.remedy, *([word.of_query] if word.of_query else [])]
    assert [text for text in sentences if not text.endswith(".")] == []


def test_every_query_says_what_it_is_answered_with() -> None:
    assert ANSWERS.keys() == QUERIES.keys()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting_is_described(name: str) -> None:
    assert (Settings.model_fields[name].description or "").endswith(".")


def test_described_metrics_are_those_that_are_told() -> None:
    registry = CollectorRegistry()
    registry.register(StatusCollector(lambda: [Status()]))
    told = [*Metrics().registry.collect(), *registry.collect()]
    kinds = {family.name: (family.type, family.documentation) for family in told}
    assert kinds == {each.name: (each.kind, each.means) for each in INSTRUMENTS}
