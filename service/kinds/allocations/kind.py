"""Consumers and their allocations as a kind of record."""

from genlock.service.deciding.kind import RecordKind
from genlock.service.kinds.allocations.reads import READS
from genlock.service.kinds.allocations.rules import RULES
from genlock.service.kinds.allocations.table import TABLE

ALLOCATIONS = RecordKind(
    TABLE, RULES, READS, checks=("consumer_sequences", "consumers_allocated", "inventories_used", "capacity_kept")
)
