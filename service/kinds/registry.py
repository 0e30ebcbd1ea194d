"""All kinds of records, and what follows from them: the routing table of commands, that of reads, and the checks."""

from collections.abc import Mapping, Sequence

from genlock.schemas.decode import Command, Refusal
from genlock.schemas.providers import ProviderCreate
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.kind import RecordKind
from genlock.service.deciding.rule import Rule
from genlock.service.kinds.allocations.kind import ALLOCATIONS
from genlock.service.kinds.documents.kind import DOCUMENTS
from genlock.service.kinds.providers.kind import PROVIDERS
from genlock.service.kinds.stacks.kind import STACKS

KINDS: tuple[RecordKind, ...] = (PROVIDERS, ALLOCATIONS, STACKS, DOCUMENTS)
"""In the one global order in which their rows are locked."""

RULES: Mapping[str, Rule] = {name: rule for kind in KINDS for name, rule in kind.rules.items()}
"""The one routing table from the type of a command to its rule."""


def footprint_of(commands: Sequence[Command], rules: Mapping[str, Rule] = RULES) -> Footprint:
    """Gather what these commands may touch. One that is refused already shows how often its record was changed."""
    footprint = Footprint()
    for command in commands:
        if not isinstance(command.data, Refusal):
            rules[command.type].footprint(footprint, command, command.data)
        elif command.kind and command.subject:
            footprint.read(command.kind, command.subject)
    _add_parents_to_be(footprint, commands)
    return footprint


def _add_parents_to_be(footprint: Footprint, commands: Sequence[Command]) -> None:
    """Where a provider moves below one that the batch creates, the tree which that one is to stand in is touched."""
    created = {
        command.subject: command.data.parent_id for command in commands if isinstance(command.data, ProviderCreate)
    }
    waiting = list(footprint.moves)
    while waiting:
        parent_id = created.get(waiting.pop())
        if parent_id is not None and parent_id not in footprint.moves:
            footprint.moves.add(parent_id)
            waiting.append(parent_id)
