"""Consumers and their allocations as a kind of record."""

from genlock.service.deciding.kind import RecordKind, Rights
from genlock.service.kinds.allocations.reads import READS
from genlock.service.kinds.allocations.rows import AllocationRows
from genlock.service.kinds.allocations.rules import RULES
from genlock.service.kinds.allocations.table import TABLE

ALLOCATIONS = RecordKind(
    TABLE,
    RULES,
    READS,
    checks=("consumer_sequences", "consumer_states", "consumers_allocated", "inventories_used", "capacity_kept"),
    grants={"consumers": Rights.RECORDS, "allocations": Rights.ROWS},
    extensions=(AllocationRows(),),
)
