"""Reads of providers: themselves, lists of them, and their use.

A page of a list is looked for in two ways, and the answer is that of one of them. Where many providers pass the
filters, a page is full soon if one goes along their ids; where few pass, going on like that would read them all, and
the indexes have to find them. Which one it is cannot be foretold: of two traits, a tenth of all providers may have
either, and none both. So the first of those that come next are looked at, and then the indexes are asked.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
from pydantic import TypeAdapter

from genlock.schemas.base import GENERATION_MAX, JsonObject
from genlock.schemas.catalogue import SUBJECTS
from genlock.schemas.faults import Place
from genlock.schemas.filters import Terms
from genlock.schemas.providers import Inventory
from genlock.schemas.queries import NoFilters, ProviderAllocations, ProviderList, ProviderUsages
from genlock.schemas.standards import ResourceClass, misnamed, unknown
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Pool
from genlock.service.kinds.providers.capacity import capacity_of
from genlock.service.kinds.providers.inventories import parse as parse_inventories
from genlock.service.kinds.providers.record import Provider
from genlock.service.kinds.providers.table import provider_of
from genlock.service.reading.answers import (
    ANSWER_BYTES_MAX,
    Answer,
    LargeAnswerError,
    QueryError,
    Read,
    check_size,
    not_found,
    page,
    start,
)

WALK_MIN, WALK_MAX = 500, 5_000
WALK_FOR_EACH = 20
"""How many providers are looked at one by one: so many for each record of a page, within these limits. Where less than
a twentieth of them passes, the indexes are faster."""

FEW_PROVIDERS = 10_000
"""Looking up so many one by one takes as long as reading the inventories of whole classes."""


@dataclass(frozen=True, slots=True)
class ListLimits:
    """How much of a list is looked at one by one, before the indexes are asked."""

    walk_min: int = WALK_MIN
    walk_max: int = WALK_MAX
    walk_for_each: int = WALK_FOR_EACH
    few_providers: int = FEW_PROVIDERS


LIMITS = ListLimits()

_CLASS: TypeAdapter[str] = TypeAdapter(ResourceClass)


async def get_provider(pool: Pool, subject: str, _filters: NoFilters, *, bytes_max: int = ANSWER_BYTES_MAX) -> Answer:
    row = await pool.fetchrow(statement("get_provider"), SUBJECTS["provider"].validate_python(subject))
    if row is None:
        return not_found("provider", subject)
    check_size([row], bytes_max)
    provider = _provider(row)
    return {"record": provider.state(), "sequence": provider.sequence}


async def list_providers(
    pool: Pool,
    _subject: str,
    filters: ProviderList,
    limits: ListLimits = LIMITS,
    *,
    bytes_max: int = ANSWER_BYTES_MAX,
) -> Answer:
    if error := _unknown(filters):
        return error
    after = start(SUBJECTS["provider"], filters.after)
    until = None
    if not (filters.name or filters.in_tree):
        walk = min(max(limits.walk_min, limits.walk_for_each * filters.limit), limits.walk_max)
        until = await pool.fetchval(statement("find_later_provider"), after, walk)
    rows = await _find(pool, filters, after, bytes_max, until=until)
    if until and len(rows) <= filters.limit:
        starts = await _starts(pool, filters.resources, limits.few_providers)
        rows = await _find(pool, filters, after, bytes_max, starts=starts)
    return page([_provider(row).summary() for row in rows], filters.limit)


async def _find(
    pool: Pool,
    filters: ProviderList,
    after: str | None,
    bytes_max: int,
    *,
    until: Any = None,
    starts: tuple[list[str], list[int]] = ([], []),
) -> list[asyncpg.Record]:
    """The providers that pass: those up to an id, or all, which the indexes find. Raises LargeAnswerError."""
    rows = await pool.fetch(
        statement("list_providers"),
        filters.name,
        filters.in_tree,
        *_arrays(filters.aggregates),
        *_arrays(filters.traits),
        list(filters.resources) or None,
        list(filters.resources.values()),
        after,
        until,
        *starts,
        filters.limit + 1,
        bytes_max,
    )
    if rows and rows[0]["bytes"] > bytes_max:
        raise LargeAnswerError
    return rows


def _arrays(terms: Terms) -> tuple[list[str] | None, ...]:
    """Terms as the statement takes them: the first group of `in:` has an index, the others are checked one by one."""
    first, others = (list(terms.any_of[0]), terms.any_of[1:]) if terms.any_of else (None, ())
    return (
        list(terms.all_of) or None,
        first,
        [",".join(group) for group in others] or None,
        list(terms.none_of) or None,
    )


async def _starts(pool: Pool, resources: dict[str, int], few: int) -> tuple[list[str], list[int]]:
    """The wanted classes to start from, and how much room they need: see the column `room`.

    If few inventories have room for one of them, that one alone; else several, to be held against each other.
    """
    if not resources:
        return [], []
    rooms = [amount.bit_length() for amount in resources.values()]
    rows = await pool.fetch(statement("find_scarcest_classes"), list(resources), rooms, few)
    starts = rows[:1] if rows[0]["providers"] < few else rows
    return [row["resource_class"] for row in starts], [row["room"] for row in starts]


def _unknown(filters: ProviderList) -> QueryError | None:
    """Refuse a name that no provider can have, as Placement does: it is a slip of the pen, not an empty list."""
    if names := unknown("trait", filters.traits.names):
        return QueryError(misnamed("trait", names, _traits(filters)))
    if names := unknown("resource class", set(filters.resources)):
        named = [(name, ("data", "resources", name)) for name in filters.resources]
        return QueryError(misnamed("resource class", names, named))
    return None


def _traits(filters: ProviderList) -> Iterator[tuple[str, Place]]:
    """Each trait in the terms, and the term that it stands in."""
    for index, term in enumerate(filters.required):
        for name in sorted(Terms.parse([term]).names):
            yield name, ("data", "required", index)


def _provider(row: asyncpg.Record) -> Provider:
    """A provider with what only reads ask the database for."""
    return replace(provider_of(row), root_id=str(row["root_id"]), inventories=parse_inventories(row["inventories"]))


async def list_provider_allocations(
    pool: Pool, subject: str, filters: ProviderAllocations, *, bytes_max: int = ANSWER_BYTES_MAX
) -> Answer:
    provider_id = SUBJECTS["provider"].validate_python(subject)
    after = start(SUBJECTS["consumer"], filters.after)
    rows = await pool.fetch(statement("list_provider_allocations"), provider_id, after, filters.limit + 1, bytes_max)
    if not rows:
        return not_found("provider", subject)
    check_size(rows, bytes_max)
    allocations = [_allocation(row) for row in rows if row["consumer_id"]]
    return page(allocations, filters.limit, by="consumer_id") | _generation(rows)


def _allocation(row: asyncpg.Record) -> JsonObject:
    return {
        "consumer_id": str(row["consumer_id"]),
        "consumer_generation": row["generation"],
        "project_id": row["project_id"],
        "user_id": row["user_id"],
        "consumer_type": row["consumer_type"],
        "resources": json.loads(row["resources"]),
    }


async def list_provider_usages(
    pool: Pool, subject: str, filters: ProviderUsages, *, bytes_max: int = ANSWER_BYTES_MAX
) -> Answer:
    provider_id = SUBJECTS["provider"].validate_python(subject)
    after = start(_CLASS, filters.after)
    rows = await pool.fetch(statement("list_provider_usages"), provider_id, after, filters.limit + 1)
    if not rows:
        return not_found("provider", subject)
    check_size(rows, bytes_max)
    usages = [_usage(row) for row in rows if row["resource_class"]]
    return page(usages, filters.limit, by="resource_class") | _generation(rows)


def _usage(row: asyncpg.Record) -> JsonObject:
    inventory = Inventory(total=row["total"], reserved=row["reserved"], allocation_ratio=row["allocation_ratio"])
    return {
        "resource_class": row["resource_class"],
        "used": row["used"],
        # A ratio may be so large that no reader could hold the number.
        "capacity": min(capacity_of(inventory), GENERATION_MAX),
        "total": row["total"],
        "reserved": row["reserved"],
    }


def _generation(rows: list[asyncpg.Record]) -> JsonObject:
    """The provider's generation: pages that show the same one are of the same state."""
    return {"generation": rows[0]["provider_generation"]}


READS: Mapping[str, Read] = {
    "provider.get": get_provider,
    "provider.list": list_providers,
    "provider.allocations": list_provider_allocations,
    "provider.usages": list_provider_usages,
}
