"""Providers as a kind of record."""

from genlock.service.deciding.kind import RecordKind
from genlock.service.kinds.providers.reads import READS
from genlock.service.kinds.providers.rules import RULES
from genlock.service.kinds.providers.table import TABLE

PROVIDERS = RecordKind(TABLE, RULES, READS, checks=("provider_sequences", "provider_trees"))
