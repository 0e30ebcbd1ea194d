"""The one list of commands: from type name to the model of its data, and what may stand as its subject."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from genlock.schemas.base import CommandData, Kind, Uuid
from genlock.schemas.consumers import ConsumerReshape, ConsumerSetAllocations, ConsumerSetMany
from genlock.schemas.documents import DocumentDelete, DocumentId, DocumentMerge, DocumentPut
from genlock.schemas.providers import (
    ProviderCreate,
    ProviderDelete,
    ProviderDeleteInventory,
    ProviderPutInventory,
    ProviderSetAggregates,
    ProviderSetInventories,
    ProviderSetTraits,
    ProviderUpdate,
)
from genlock.schemas.stacks import (
    StackCancel,
    StackCreate,
    StackDelete,
    StackRollback,
    StackSetState,
    StackUpdate,
)


@dataclass(frozen=True, slots=True)
class CommandType:
    """A command as the catalogue knows it. `name` is `<kind>.<verb>` and the routing key.

    One on several records names them all in its data, and has no subject.
    """

    name: str
    kind: Kind
    model: type[CommandData]
    on_several: bool = False


def _catalogue(kind: Kind, verbs: dict[str, type[CommandData]], *, on_several: bool = False) -> dict[str, CommandType]:
    return {f"{kind}.{verb}": CommandType(f"{kind}.{verb}", kind, model, on_several) for verb, model in verbs.items()}


COMMANDS: dict[str, CommandType] = {
    **_catalogue(
        "provider",
        {
            "create": ProviderCreate,
            "update": ProviderUpdate,
            "delete": ProviderDelete,
            "set_inventories": ProviderSetInventories,
            "put_inventory": ProviderPutInventory,
            "delete_inventory": ProviderDeleteInventory,
            "set_traits": ProviderSetTraits,
            "set_aggregates": ProviderSetAggregates,
        },
    ),
    **_catalogue("consumer", {"set_allocations": ConsumerSetAllocations}),
    **_catalogue("consumer", {"set_many": ConsumerSetMany, "reshape": ConsumerReshape}, on_several=True),
    **_catalogue(
        "stack",
        {
            "create": StackCreate,
            "update": StackUpdate,
            "delete": StackDelete,
            "rollback": StackRollback,
            "cancel": StackCancel,
            "set_state": StackSetState,
        },
    ),
    **_catalogue("document", {"put": DocumentPut, "merge": DocumentMerge, "delete": DocumentDelete}),
}

TYPE_OF: dict[type[CommandData], CommandType] = {command.model: command for command in COMMANDS.values()}

_UUID_SUBJECT: TypeAdapter[str] = TypeAdapter(Uuid)
SUBJECTS: dict[Kind, TypeAdapter[str]] = {
    "provider": _UUID_SUBJECT,
    "consumer": _UUID_SUBJECT,
    "stack": _UUID_SUBJECT,
    "document": TypeAdapter(DocumentId),
}
