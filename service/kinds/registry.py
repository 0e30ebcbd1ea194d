"""The registry of kinds. It is handed in where a process is wired, and known nowhere else in the service."""

from genlock.service.deciding.kind import Kinds
from genlock.service.kinds.allocations.kind import ALLOCATIONS
from genlock.service.kinds.documents.kind import DOCUMENTS
from genlock.service.kinds.providers.kind import PROVIDERS
from genlock.service.kinds.stacks.kind import STACKS

KINDS = Kinds(PROVIDERS, ALLOCATIONS, STACKS, DOCUMENTS)
"""In the one global order in which their rows are locked."""
