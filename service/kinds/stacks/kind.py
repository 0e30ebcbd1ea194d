"""Stacks as a kind of record."""

from genlock.service.deciding.kind import RecordKind, Rights
from genlock.service.kinds.stacks.reads import READS
from genlock.service.kinds.stacks.rules import RULES
from genlock.service.kinds.stacks.table import TABLE
from genlock.service.kinds.stacks.traversal_rows import TraversalRows

STACKS = RecordKind(
    TABLE,
    RULES,
    READS,
    checks=("stack_sequences", "stack_states", "stack_chains"),
    grants={"stacks": Rights.RECORDS},
    extensions=(TraversalRows(),),
)
