"""The one routing table from command type to rule, and the footprint of a batch, gathered by it."""

from collections.abc import Mapping, Sequence

from genlock.schemas.decode import Command, Refusal
from genlock.schemas.providers import ProviderCreate
from genlock.service import consumers, documents, providers, stacks
from genlock.service.footprint import Footprint
from genlock.service.rule import Rule

RULES: Mapping[str, Rule] = {**providers.RULES, **consumers.RULES, **stacks.RULES, **documents.RULES}


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
