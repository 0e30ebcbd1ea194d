"""Any commands in any batches: the fold says what the one-at-a-time model says, and leaves what it leaves."""

import json
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import ConflictData, RejectedData, SucceededData, Token, Verdict
from genlock.service.deciding.copies import sort_out
from genlock.service.deciding.fold import Change, fold
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.record import Record, RecordKey
from genlock.service.deciding.state import State
from genlock.service.kinds.allocations.record import Consumer
from genlock.service.kinds.documents.record import Document
from genlock.service.kinds.documents.rules import merged
from genlock.service.kinds.providers.record import Provider
from genlock.service.kinds.providers.trees import TreeFootprint, Trees
from genlock.service.kinds.registry import KINDS
from genlock.service.kinds.stacks.record import Stack
from genlock.service.kinds.stacks.traversals import AskedTraversals, Traversals
from genlock.service.ledger.events import verdict_name
from genlock.service.ledger.ledger import Decided
from tests.property.model import Json, Model, VerdictSummary, merge_patch
from tests.property.model_consumers import told_by
from tests.property.strategies import (
    OBJECTS,
    PROVIDERS_ONLY,
    PROVIDERS_TOO,
    WITHOUT_PROVIDERS,
    command_lists,
    comparable,
    moved,
    splits,
    summaries_of,
)
from tests.property.strategies_consumers import allocation_lists
from tests.support.factories import NOW, RETENTION, event_of, received

# Without explanations of failures: tracing every line takes minutes.
thorough = settings(
    max_examples=300,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[phase for phase in Phase if phase is not Phase.explain],
)


@dataclass
class Memory:
    """Where batches are read from and written to, as the database is: a batch sees what it says it touches."""

    records: dict[RecordKey, Record] = field(default_factory=dict)
    traversals: set[tuple[str, str]] = field(default_factory=set)
    ledger: dict[str, Decided] = field(default_factory=dict)
    answers: dict[str, VerdictSummary] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    shown: dict[str, Json | None] = field(default_factory=dict)
    """The state of a provider that each command was shown, unless it was rejected."""
    told: dict[str, Json] = field(default_factory=dict)
    """The details that each command on consumers was told."""

    def read(self, wanted: Footprint) -> State:
        for consumer_id in wanted.ids("consumer"):
            consumer = self.records.get(("consumer", consumer_id))
            if isinstance(consumer, Consumer):
                wanted.change("provider", *consumer.allocations)
        records = {key: record for key, record in self.records.items() if wanted.has(key)}
        names = {(record.kind, record.name): record.id for record in self.records.values() if record.name is not None}
        state = KINDS.state(wanted)
        state.records = records
        state.names = {name: owner for name, owner in names.items() if name in wanted.names}
        current = {(record.id, record.traversal) for record in records.values() if isinstance(record, Stack)}
        state.part(Traversals).known = current | (self.traversals & wanted.part(AskedTraversals).pairs)
        providers = [record for record in self.records.values() if isinstance(record, Provider)]
        above = {provider.id: provider.parent_id for provider in providers}
        trees = state.part(Trees)
        for provider_id in wanted.ids("provider"):
            self._read_ancestors(trees, provider_id, above)
        trees.children = {
            parent: {provider.id for provider in providers if provider.parent_id == parent}
            for parent in wanted.part(TreeFootprint).deletions
        }
        return state

    @staticmethod
    def _read_ancestors(trees: Trees, provider_id: str | None, above: dict[str, str | None]) -> None:
        while provider_id is not None and provider_id in above:
            trees.parents[provider_id] = above[provider_id]
            provider_id = above[provider_id]

    def all_records(self) -> dict[RecordKey, Record | None]:
        """All records as reads show them, providers with their roots."""
        everything = Footprint()
        for kind, record_id in self.records:
            everything.read(kind, record_id)
        state = self.read(everything)
        return {key: state.find(key) for key in self.records}

    def decide(self, envelopes: Iterable[Json]) -> list[VerdictSummary]:
        """Decide one batch, with known ids and copies sorted out as the service does it."""
        commands = [received(members) for members in envelopes]
        fresh, reused = sort_out(commands, self.ledger)
        state = self.read(KINDS.footprint_of([*fresh, *reused]))
        folded = fold(state, fresh, NOW, RETENTION, KINDS.rules)
        assert folded.faults == []
        self.records |= state.records
        self.traversals |= state.part(Traversals).known
        self.changes += folded.changes
        for command, verdict in zip(fresh, folded.verdicts, strict=True):
            self.ledger[command.id] = Decided(command.content_hash, event_of(command, verdict))
            self.answers[command.id] = summary_of(verdict)
            if command.kind == "provider" and not isinstance(verdict, RejectedData):
                self.shown[command.id] = verdict.record if isinstance(verdict, SucceededData) else verdict.current
            if command.kind == "consumer" and self.answers[command.id][1] != "invalid_data":
                self.told[command.id] = told_by(json.loads(event_of(command, verdict).body))
        return [self._answer(command, state) for command in commands]

    def _answer(self, command: Command, state: State) -> VerdictSummary:
        if self.ledger[command.id].content_hash == command.content_hash:
            return self.answers[command.id]
        record = state.records.get((command.kind, command.subject)) if command.kind else None
        return "rejected", "id_reused", None, record.sequence if record else 0


def token_json(token: Token | None) -> Json | None:
    return None if token is None else token.model_dump()


def summary_of(verdict: Verdict) -> VerdictSummary:
    name = verdict_name(verdict).value
    match verdict:
        case SucceededData():
            return name, None, token_json(verdict.token), verdict.sequence
        case ConflictData():
            return name, verdict.reason, token_json(verdict.actual), verdict.sequence
        case RejectedData():
            return name, verdict.code, None, verdict.sequence


def record_json(record: Record | None) -> Json:
    """A record as the contract shows it."""
    if isinstance(record, Provider):
        shown = None if record.deleted else record.state()
        return {"generation": record.generation, "sequence": record.sequence, "shown": shown}
    if isinstance(record, Consumer):
        shown = None if record.deleted else record.state()
        return {"generation": record.generation, "sequence": record.sequence, "shown": shown}
    if isinstance(record, Document):
        return {"generation": record.generation, "sequence": record.sequence, "body": record.body}
    assert isinstance(record, Stack)
    return {
        "name": record.stack_name,
        "action": record.action.value,
        "status": record.status.value,
        "token": record.token.model_dump(),
        "sequence": record.sequence,
        "template": record.template,
        "previous_template": record.previous_template,
        "disable_rollback": record.disable_rollback,
        "timeout_s": record.timeout_s,
    }


def model_json(model: Model) -> dict[tuple[str, str], Json]:
    documents = {("document", subject): vars(document) for subject, document in model.documents.items()}
    stacks = {
        ("stack", subject): {name: value for name, value in vars(stack).items() if name != "traversals"}
        | {"token": stack.token()}
        for subject, stack in model.stacks.items()
    }
    providers = {
        ("provider", subject): {
            "generation": provider.generation,
            "sequence": provider.sequence,
            "shown": model.show(subject),
        }
        for subject, provider in model.providers.items()
    }
    consumers = {
        ("consumer", subject): {
            "generation": consumer.generation,
            "sequence": consumer.generation,
            "shown": model.show_consumer(subject),
        }
        for subject, consumer in model.consumers.items()
    }
    return documents | stacks | providers | consumers


MIXTURES = st.one_of(
    command_lists(WITHOUT_PROVIDERS), command_lists(PROVIDERS_TOO), command_lists(PROVIDERS_ONLY), allocation_lists()
)


@thorough
@given(st.data())
def test_any_batches_come_to_what_one_command_at_a_time_comes_to(data: st.DataObject) -> None:
    commands = data.draw(MIXTURES)
    memory, model = Memory(), Model()
    answers = [answer for batch in data.draw(splits(commands)) for answer in memory.decide(batch)]
    assert comparable(answers) == comparable(summaries_of(model, commands))
    assert {key: record_json(record) for key, record in memory.all_records().items()} == model_json(model)
    assert memory.shown == model.shown
    assert memory.told == model.told
    succeeded = [command_id for command_id, answer in memory.answers.items() if answer[0] == "succeeded"]
    assert list(dict.fromkeys(change.command.id for change in memory.changes)) == succeeded
    for provider_id in model.providers:
        provider = memory.records["provider", provider_id]
        assert isinstance(provider, Provider)
        assert provider.used == {name: model.used(provider_id, name) for name in model.in_use(provider_id)}
    assert_sequences_go_up_by_one_and_tokens_never_go_back(memory.changes)


def assert_sequences_go_up_by_one_and_tokens_never_go_back(changes: list[Change]) -> None:
    histories: dict[RecordKey, list[Record]] = {}
    for change in changes:
        histories.setdefault((change.record.kind, change.record.id), []).append(change.record)
    for history in histories.values():
        assert [record.sequence for record in history] == list(range(1, len(history) + 1))
        generations = [record.generation for record in history if isinstance(record, Document | Provider)]
        assert generations == list(range(len(generations)))
        generations = [record.generation for record in history if isinstance(record, Consumer)]
        assert generations == list(range(1, len(generations) + 1))
        traversals = [record.traversal for record in history if isinstance(record, Stack)]
        started = [name for index, name in enumerate(traversals) if index == 0 or name != traversals[index - 1]]
        assert len(started) == len(set(started))


@settings(thorough, max_examples=100)
@given(st.data())
def test_deciding_changes_no_argument_and_touches_nothing_outside_its_footprint(data: st.DataObject) -> None:
    memory = Memory()
    for batch in data.draw(splits(data.draw(MIXTURES))):
        commands = [received(members) for members in batch]
        for each in ([command] for command in commands):
            assert fold(memory.read(KINDS.footprint_of(each)), each, NOW, RETENTION, KINDS.rules).faults == []
        state = memory.read(KINDS.footprint_of(commands))
        before = dict(state.records)
        copies = deepcopy((commands, before))
        assert fold(state, commands, NOW, RETENTION, KINDS.rules).faults == []
        assert (commands, before) == copies
        memory.decide(batch)


@settings(thorough, max_examples=50)
@given(command_lists(PROVIDERS_TOO) | allocation_lists())
def test_moved_commands_come_to_the_same_answers(commands: list[Json]) -> None:
    def words(answers: list[VerdictSummary]) -> list[Any]:
        return [(word, why, sequence) for word, why, _, sequence in answers]

    assert words(summaries_of(Model(), commands)) == words(summaries_of(Model(), moved(commands, "elsewhere")))


@thorough
@given(OBJECTS, OBJECTS)
def test_merging_is_rfc_7396_and_leaves_its_arguments_alone(target: Json, patch: Json) -> None:
    copies = deepcopy((target, patch))
    assert merged(target, patch) == merge_patch(*deepcopy((target, patch)))
    assert (target, patch) == copies
