"""Stacks as a kind of record."""

from genlock.service.deciding.kind import RecordKind
from genlock.service.kinds.stacks.reads import READS
from genlock.service.kinds.stacks.rules import RULES
from genlock.service.kinds.stacks.table import TABLE

STACKS = RecordKind(TABLE, RULES, READS, checks=("stack_sequences", "stack_chains"))
