"""Documents as a kind of record."""

from genlock.service.deciding.kind import RecordKind, Rights
from genlock.service.kinds.documents.reads import READS
from genlock.service.kinds.documents.rules import RULES
from genlock.service.kinds.documents.table import TABLE

DOCUMENTS = RecordKind(
    TABLE,
    RULES,
    READS,
    checks=("document_sequences", "document_states"),
    grants={"documents": Rights.RECORDS},
)
