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
from genlock.schemas.decode import Command
from genlock.schemas.faults import ERRORS_MAX, Fault, Faults, Place
from genlock.schemas.outcomes import Failure, SucceededData
from genlock.schemas.standards import misnamed, unknown
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.generations import check
from genlock.service.deciding.record import Maker, Record, RecordKey
from genlock.service.deciding.rule import Guard, Rule
from genlock.service.deciding.state import State, made_by
from genlock.service.deciding.verdicts import Decision, Tokens, conflicts, multi_record_success, rejected, success
from genlock.service.kinds.allocations.record import Consumer
from genlock.service.kinds.providers.capacity import AllocationRequest, CapacityViolation, ProviderUsage, violations
from genlock.service.kinds.providers.record import Provider

GENERATION_FIRST = 1

CHECK_ORDER = (
    Code.INVENTORY_IN_USE,
    Code.NO_INVENTORY,
    Code.UNIT_CONSTRAINT_VIOLATED,
    Code.CAPACITY_EXCEEDED,
)
"""A command with several violations is rejected under the code that comes first here."""


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
    usages = _usages(state, wanted)
    if found := list(violations(usages, _requests(command, wanted))):
        return _violated(state, command, found)
    maker = made_by(command, decided_at)
    consumers = [
        _consumer(state.get(Consumer, consumer_id), consumer_id, new, maker)
        for consumer_id, new in wanted.consumers.items()
    ]
    changed: tuple[Record, ...] = (*consumers, *(_provider(load, maker) for load in usages.values()))
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
    """Repeats the success of a command whose ledger row has expired, if records still have the tokens that it made."""
    wanted = wanted_by(command)
    keys: dict[RecordKey, None] = {("consumer", consumer_id): None for consumer_id in wanted.consumers}
    keys |= {("provider", provider_id): None for provider_id in wanted.inventories}
    keys |= {("provider", provider_id): None for _, provider_id, _ in wanted.allocations()}
    made = [record for key in keys if (record := state.find(key)) and record.maker.command_id == command.id]
    if not made or (command.subject and made[0].kind != "consumer"):
        return None
    return Decision(_success(command, made))


def _success(command: Command, changed: Iterable[Record]) -> SucceededData:
    tokens: Tokens = defaultdict(dict)
    own = None
    for record in changed:
        # A provider may have the same id.
        if (record.kind, record.id) == (command.kind, command.subject):
            own = record
        else:
            tokens[record.kind][record.id] = record.token
    return success(own, tokens=tokens) if own else multi_record_success("consumer", tokens)


def _present(state: State, command: Command, _data: Any) -> Wanted | Decision:
    """The wanted allocations, or a rejection.

    It is rejected if it names, without a token, a provider that does not exist or such a consumer to be removed.
    """
    wanted = wanted_by(command)
    faults = []
    for consumer_id, new in wanted.consumers.items():
        consumer = state.get(Consumer, consumer_id)
        if new.expected_generation is None and not new.allocations and (consumer is None or consumer.deleted):
            at, several = _place(command, consumer_id), not command.subject
            message = f"There is no consumer {consumer_id}."
            faults.append(Fault(Code.NOT_FOUND, message, at, named=several, kind="consumer", id=consumer_id))
    for consumer_id, provider_id, allocation in wanted.allocations():
        provider = state.get(Provider, provider_id)
        if allocation.generation is None and (provider is None or provider.deleted):
            at = (*_place(command, consumer_id), "allocations", provider_id)
            message = f"There is no provider {provider_id}."
            faults.append(Fault(Code.NOT_FOUND, message, at, named=True, kind="provider", id=provider_id))
    return rejected(command, _own(state, command), Faults.of(faults)) if faults else wanted


def _outdated(state: State, command: Command, wanted: Wanted) -> Decision | None:
    """The conflict with all records that are not as expected, each told once for each thing expected of it."""
    failures: dict[tuple[Kind, str, int | None], Failure | None] = {}
    for consumer_id, new in wanted.consumers.items():
        expected = new.expected_generation
        failed = check("consumer", consumer_id, state.get(Consumer, consumer_id), expected)
        failures["consumer", consumer_id, expected] = failed
    providers = [(provider_id, new.expected_generation) for provider_id, new in wanted.inventories.items()]
    providers += [
        (provider_id, allocation.generation)
        for _, provider_id, allocation in wanted.allocations()
        if allocation.generation is not None
    ]
    for provider_id, generation in providers:
        failed = check("provider", provider_id, state.get(Provider, provider_id), generation)
        failures["provider", provider_id, generation] = failed
    found = [failed for failed in failures.values() if failed]
    return conflicts(command, found, multi_record=True) if found else None


def _unknown(state: State, command: Command, wanted: Wanted) -> Decision | None:
    classes = {name for new in wanted.inventories.values() for name in new.inventories}
    classes |= {name for _, _, allocation in wanted.allocations() for name in allocation.resources}
    names = unknown("resource class", classes)
    if not names:
        return None
    faults = misnamed("resource class", names, _named(command, wanted))
    return rejected(command, _own(state, command), faults)


def _named(command: Command, wanted: Wanted) -> Iterator[tuple[str, Place]]:
    """Each resource class that the command names, and where."""
    for provider_id, new in wanted.inventories.items():
        for name in new.inventories:
            yield name, ("data", "inventories", provider_id, "inventories", name)
    for consumer_id, provider_id, allocation in wanted.allocations():
        at = (*_place(command, consumer_id), "allocations", provider_id, "resources")
        for name in allocation.resources:
            yield name, (*at, name)


def _usages(state: State, wanted: Wanted) -> dict[str, ProviderUsage]:
    """What becomes of each provider that is in the old or the new allocations, or gets other inventories, by id."""
    given_up: dict[str, Counter[str]] = defaultdict(Counter)
    asked: dict[str, Counter[str]] = defaultdict(Counter)
    for consumer_id in wanted.consumers:
        if consumer := state.get(Consumer, consumer_id):
            for provider_id, amounts in consumer.allocations.items():
                given_up[provider_id].update(amounts)
    for _, provider_id, allocation in wanted.allocations():
        asked[provider_id].update(allocation.resources)
    usages = {}
    for provider_id in sorted(given_up.keys() | asked.keys() | wanted.inventories.keys()):
        provider = state.records["provider", provider_id]
        assert isinstance(provider, Provider)  # noqa: S101 - its key says so
        others = Counter(provider.used)
        others.subtract(given_up[provider_id])
        new = wanted.inventories.get(provider_id)
        usages[provider_id] = ProviderUsage(
            provider, new.inventories if new else provider.inventories, others, asked[provider_id]
        )
    return usages


def _requests(command: Command, wanted: Wanted) -> Iterator[AllocationRequest]:
    for consumer_id, provider_id, allocation in wanted.allocations():
        for name, amount in allocation.resources.items():
            at = (*_place(command, consumer_id), "allocations", provider_id, "resources", name)
            yield AllocationRequest(provider_id, name, amount, at)


def _violated(state: State, command: Command, found: Sequence[CapacityViolation]) -> Decision:
    """Reject the command for all its violations, those that are checked first before the others."""
    ordered = sorted(found, key=lambda violation: CHECK_ORDER.index(violation.fault.code))
    shortages = [violation.shortage for violation in ordered if violation.shortage]
    faults = Faults.of([violation.fault for violation in ordered])
    return rejected(command, _own(state, command), faults, shortages[:ERRORS_MAX])


def _own(state: State, command: Command) -> Consumer | None:
    """The consumer that is the command's subject; a command on several has none."""
    return state.get(Consumer, command.subject) if command.subject else None


def _place(command: Command, consumer_id: str) -> Place:
    """Where the command says what this consumer is to have."""
    return ("data",) if command.subject else ("data", "consumers", consumer_id)


def _consumer(record: Consumer | None, consumer_id: str, new: ConsumerAllocations, maker: Maker) -> Consumer:
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


def _provider(load: ProviderUsage, maker: Maker) -> Provider:
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
    """The consumers, and the providers in the command. The database adds the providers of their present allocations."""
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
