"""Providers as a kind of record."""

from genlock.service.deciding.kind import RecordKind, Rights
from genlock.service.kinds.providers.inventories import InventoryRows
from genlock.service.kinds.providers.reads import READS
from genlock.service.kinds.providers.rules import RULES
from genlock.service.kinds.providers.table import TABLE
from genlock.service.kinds.providers.tree_rows import TreeRows

PROVIDERS = RecordKind(
    TABLE,
    RULES,
    READS,
    checks=("provider_sequences", "provider_states", "provider_trees"),
    grants={"providers": Rights.RECORDS, "inventories": Rights.ROWS, "live_providers": Rights.READ},
    extensions=(InventoryRows(), TreeRows()),
)
