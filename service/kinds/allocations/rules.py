"""The rules of consumers: pure functions from a state and a command to a decision.

After OpenStack Placement: all allocations of a consumer are replaced at once, guarded by its generation, by those of
the providers if the command names them, and by the capacity of their inventories. All or nothing, over all records.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genlock.schemas.base import Kind
from genlock.schemas.codes import Code
from genlock.schemas.consumers import (
    Allocation,
    ConsumerAllocations,
    ConsumerReshape,
    ConsumerSetAllocations,
    ConsumerSetMany,
    NewInventories,
)
from genlock.schemas.decode import ERRORS_MAX, Command, Refusal
from genlock.schemas.outcomes import Failure, FieldError, Shortage, SucceededData, Token, Winner
from genlock.schemas.standards import complaint, unknown
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.generations import check
from genlock.service.deciding.record import Record, RecordKey
from genlock.service.deciding.rule import Guard, Rule
from genlock.service.deciding.state import State, made_by
from genlock.service.deciding.verdicts import Decision, conflicts, refused, success, success_of_several
from genlock.service.kinds.allocations.record import Consumer
from genlock.service.kinds.providers.capacity import Ask, Flaw, Load, flaws
from genlock.service.kinds.providers.record import Provider

GENERATION_FIRST = 1

CHECK_ORDER = (
    Code.INVENTORY_IN_USE,
    Code.NO_INVENTORY,
    Code.UNIT_CONSTRAINT_VIOLATED,
    Code.CAPACITY_EXCEEDED,
)
"""A command with several flaws is rejected under the code that comes first here."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command wants of consumers and of providers, by their ids."""

    consumers: Mapping[str, ConsumerAllocations]
    inventories: Mapping[str, NewInventories]

    def allocations(self) -> Iterator[tuple[str, str, Allocation]]:
        """Each allocation, after the ids of its consumer and its provider."""
        for consumer_id, new in self.consumers.items():
            for provider_id, allocation in new.allocations.items():
                yield consumer_id, provider_id, allocation


def replace_allocations(state: State, command: Command, wanted: Wanted, decided_at: str) -> Decision:
    """Replace all allocations of consumers, and inventories with them; a consumer without allocations is removed.

    Names are checked, then capacity; then everything is changed. Only the picture in the end must be legal.
    """
    if failed := _unknown(state, command, wanted):
        return failed
    loads = _loads(state, wanted)
    if found := list(flaws(loads, _asks(command, wanted))):
        return _flawed(state, command, found)
    maker = made_by(command, decided_at)
    consumers = [
        _consumer(state.consumer(consumer_id), consumer_id, new, maker) for consumer_id, new in wanted.consumers.items()
    ]
    changed: tuple[Record, ...] = (*consumers, *(_provider(load, maker) for load in loads.values()))
    return Decision(_success(command, changed), changed)


def wanted_by(command: Command) -> Wanted:
    """What a command on consumers wants. Raises TypeError for any other command."""
    match command.data:
        case ConsumerSetAllocations() as data:
            return Wanted({command.subject: data}, {})
        case ConsumerSetMany(consumers=consumers):
            return Wanted(consumers, {})
        case ConsumerReshape(consumers=consumers, inventories=inventories):
            return Wanted(consumers, inventories)
        case _:
            raise TypeError(f"{command.type} is no command on consumers")


def repeated(state: State, command: Command, _subject: Record | None) -> Decision | None:
    """The success of a command that the ledger has forgotten, as far as records still have the tokens it made."""
    wanted = wanted_by(command)
    keys: dict[RecordKey, None] = {("consumer", consumer_id): None for consumer_id in wanted.consumers}
    keys |= {("provider", provider_id): None for provider_id in wanted.inventories}
    keys |= {("provider", provider_id): None for _, provider_id, _ in wanted.allocations()}
    made = [record for key in keys if (record := state.find(key)) and record.maker.command_id == command.id]
    if not made or (command.subject and made[0].kind != "consumer"):
        return None
    return Decision(_success(command, made))


def _success(command: Command, changed: Iterable[Record]) -> SucceededData:
    tokens: dict[Kind, dict[str, Token]] = defaultdict(dict)
    own = None
    for record in changed:
        # A provider may have the same id.
        if (record.kind, record.id) == (command.kind, command.subject):
            own = record
        else:
            tokens[record.kind][record.id] = record.token
    return success(own, tokens=tokens) if own else success_of_several("consumer", tokens)


def _present(state: State, command: Command, _data: Any) -> Wanted | Decision:
    """What is wanted; not of a consumer or a provider that is not there, where nothing else was expected of it."""
    wanted = wanted_by(command)
    errors = []
    for consumer_id, new in wanted.consumers.items():
        consumer = state.consumer(consumer_id)
        if new.expected_generation is None and not new.allocations and (consumer is None or consumer.deleted):
            path = _path(command, consumer_id)
            errors.append(FieldError(path=path, message=f"There is no consumer {consumer_id}."))
    for consumer_id, provider_id, allocation in wanted.allocations():
        provider = state.provider(provider_id)
        if allocation.generation is None and (provider is None or provider.deleted):
            path = f"{_path(command, consumer_id)}.allocations.{provider_id}"
            errors.append(FieldError(path=path, message=f"There is no provider {provider_id}."))
    return _rejected(state, command, Code.NOT_FOUND, errors) if errors else wanted


def _outdated(state: State, command: Command, wanted: Wanted) -> Decision | None:
    """The conflict with all records that are not as expected, each told once for each thing expected of it."""
    failures: dict[tuple[Kind, str, int | None], Failure | None] = {}
    for consumer_id, new in wanted.consumers.items():
        expected = new.expected_generation
        failed = check("consumer", consumer_id, state.consumer(consumer_id), expected)
        failures["consumer", consumer_id, expected] = failed
    providers = [(provider_id, new.expected_generation) for provider_id, new in wanted.inventories.items()]
    providers += [
        (provider_id, allocation.generation)
        for _, provider_id, allocation in wanted.allocations()
        if allocation.generation is not None
    ]
    for provider_id, generation in providers:
        failed = check("provider", provider_id, state.provider(provider_id), generation)
        failures["provider", provider_id, generation] = failed
    found = [failed for failed in failures.values() if failed]
    return conflicts(command, found, on_several=True) if found else None


def _unknown(state: State, command: Command, wanted: Wanted) -> Decision | None:
    classes = {name for new in wanted.inventories.values() for name in new.inventories}
    classes |= {name for _, _, allocation in wanted.allocations() for name in allocation.resources}
    if names := unknown("resource class", classes):
        refusal = Refusal(Code.UNKNOWN_RESOURCE_CLASS, complaint("resource class", names))
        return refused(command, _own(state, command), refusal)
    return None


def _loads(state: State, wanted: Wanted) -> dict[str, Load]:
    """What becomes of each provider that is in the old or the new allocations, or gets other inventories, by id."""
    given_up: dict[str, Counter[str]] = defaultdict(Counter)
    asked: dict[str, Counter[str]] = defaultdict(Counter)
    for consumer_id in wanted.consumers:
        if consumer := state.consumer(consumer_id):
            for provider_id, amounts in consumer.allocations.items():
                given_up[provider_id].update(amounts)
    for _, provider_id, allocation in wanted.allocations():
        asked[provider_id].update(allocation.resources)
    loads = {}
    for provider_id in sorted(given_up.keys() | asked.keys() | wanted.inventories.keys()):
        provider = state.records["provider", provider_id]
        assert isinstance(provider, Provider)  # noqa: S101 - its key says so
        others = Counter(provider.used)
        others.subtract(given_up[provider_id])
        new = wanted.inventories.get(provider_id)
        loads[provider_id] = Load(
            provider, new.inventories if new else provider.inventories, others, asked[provider_id]
        )
    return loads


def _asks(command: Command, wanted: Wanted) -> Iterator[Ask]:
    for consumer_id, provider_id, allocation in wanted.allocations():
        for name, amount in allocation.resources.items():
            path = f"{_path(command, consumer_id)}.allocations.{provider_id}.resources.{name}"
            yield Ask(provider_id, name, amount, path)


def _flawed(state: State, command: Command, found: Sequence[Flaw]) -> Decision:
    """Reject the command for all its flaws, those that are checked first before the others."""
    ordered = sorted(found, key=lambda flaw: CHECK_ORDER.index(flaw.code))
    shortages = [flaw.shortage for flaw in ordered if flaw.shortage]
    return _rejected(state, command, ordered[0].code, [flaw.error for flaw in ordered], shortages)


def _rejected(
    state: State, command: Command, code: Code, errors: Sequence[FieldError], shortages: Sequence[Shortage] = ()
) -> Decision:
    more = f" And {len(errors) - 1} more." if len(errors) > 1 else ""
    refusal = Refusal(code, errors[0].message + more, tuple(errors[:ERRORS_MAX]))
    return refused(command, _own(state, command), refusal, shortages[:ERRORS_MAX])


def _own(state: State, command: Command) -> Consumer | None:
    """The consumer that is the command's subject; a command on several has none."""
    return state.consumer(command.subject) if command.subject else None


def _path(command: Command, consumer_id: str) -> str:
    """Where the command says what this consumer is to have."""
    return "data" if command.subject else f"data.consumers.{consumer_id}"


def _consumer(record: Consumer | None, consumer_id: str, new: ConsumerAllocations, maker: Winner) -> Consumer:
    """The consumer as the command leaves it; without allocations a tombstone."""
    kept_type = record.consumer_type if record and not record.deleted else None
    return Consumer(
        id=consumer_id,
        generation=record.generation + 1 if record else GENERATION_FIRST,
        sequence=record.sequence + 1 if record else 1,
        maker=maker,
        project_id=new.project_id,
        user_id=new.user_id,
        consumer_type=new.consumer_type if "consumer_type" in new.model_fields_set else kept_type,
        allocations={provider_id: allocation.resources for provider_id, allocation in new.allocations.items()},
        deleted=not new.allocations,
    )


def _provider(load: Load, maker: Winner) -> Provider:
    """The provider as the command leaves it."""
    before = load.before
    return replace(
        before,
        generation=before.generation + 1,
        sequence=before.sequence + 1,
        maker=maker,
        inventories=load.inventories,
        used=load.used,
    )


ALL_EXPECTED = Guard(_outdated, omittable=("allocations.*.expected_generation",))
"""Each consumer and each provider has the generation that is expected of it, where one is."""


def _footprint(footprint: Footprint, command: Command, _data: Any) -> None:
    """The consumers, and the providers that they ask of. Those that they have had so far only the database knows."""
    wanted = wanted_by(command)
    footprint.change("consumer", *wanted.consumers)
    footprint.change("provider", *wanted.inventories)
    footprint.change("provider", *(provider_id for _, provider_id, _ in wanted.allocations()))


_RULE = Rule(replace_allocations, ALL_EXPECTED, _footprint, prepare=_present, repeated=repeated)

RULES: Mapping[str, Rule] = {
    "consumer.set_allocations": _RULE,
    "consumer.set_many": _RULE,
    "consumer.reshape": _RULE,
}
