"""Every query's answer has the members and the fields that the contract has for it, and no others."""

import json

import pytest

from genlock.schemas.answers import ANSWERS
from genlock.schemas.base import JsonObject
from genlock.schemas.queries import QUERIES
from genlock.service.database.transactions import READING_PLANS, open_pool
from genlock.service.deciding.decide import Decider
from genlock.service.reading.answers import QueryError
from tests.support.consumer_factories import PROJECT, set_allocations
from tests.support.factories import new_id, put, stack_command
from tests.support.provider_factories import INVENTORY, create_provider, provider_command
from tests.support.reads import read


@pytest.mark.parametrize("name", QUERIES)
async def test_answer_is_as_the_contract_has_it(decider: Decider, database_url: str, name: str) -> None:
    subjects = {kind: new_id() for kind in ("provider", "consumer", "stack", "document")}
    provider = subjects["provider"]
    first = create_provider(provider)
    inventory = {"resource_class": "VCPU", "inventory": INVENTORY}
    commands = [
        first,
        provider_command("put_inventory", provider, expected_generation=0, **inventory),
        set_allocations(subjects["consumer"], None, {provider: {"VCPU": 2}}),
        stack_command("create", subjects["stack"]),
        put(subjects["document"], None),
    ]
    await decider.decide(commands)
    subjects |= {"project": PROJECT, "command": first.id, "record": provider}
    kind, _, what = name.partition(".")
    subject = {str(command.kind): command.id for command in commands}[kind] if what == "outcome" else subjects[kind]
    filters = {"record.history": {"kind": "provider"}}.get(name, {})
    async with await open_pool(database_url, size=1, timeout_s=20, plans=READING_PLANS) as pool:
        answer = await read(pool, name, subject, QUERIES[name].model_validate(filters))
    assert not isinstance(answer, QueryError), answer
    known = ANSWERS[name]
    assert answer.keys() == {*(("records", "next") if known.paged else ("record",)), *known.beside}
    records: list[JsonObject] = answer["records"] if known.paged else [answer["record"]]
    assert records
    for record in records:
        known.record.model_validate_json(json.dumps(record), extra="forbid")
