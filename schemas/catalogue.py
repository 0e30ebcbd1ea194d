"""The one list of commands, from type name to the model of its data, and the one list of kinds of records."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from genlock.schemas.base import CommandData, Kind, Shown, Uuid
from genlock.schemas.consumers import ConsumerReshape, ConsumerSetAllocations, ConsumerSetMany, ConsumerState
from genlock.schemas.documents import DocumentDelete, DocumentId, DocumentMerge, DocumentPut, DocumentState
from genlock.schemas.providers import (
    ProviderCreate,
    ProviderDelete,
    ProviderDeleteInventory,
    ProviderPutInventory,
    ProviderSetAggregates,
    ProviderSetInventories,
    ProviderSetTraits,
    ProviderState,
    ProviderUpdate,
)
from genlock.schemas.stacks import (
    StackCancel,
    StackCreate,
    StackDelete,
    StackRollback,
    StackSetState,
    StackState,
    StackUpdate,
)


@dataclass(frozen=True, slots=True)
class CommandType:
    """A type of command. `name` is `<kind>.<verb>` and the routing key.

    A command on several records names them in its data and has no subject.
    """

    name: str
    kind: Kind
    model: type[CommandData]
    multi_record: bool = False


def _catalogue(
    kind: Kind, verbs: dict[str, type[CommandData]], *, multi_record: bool = False
) -> dict[str, CommandType]:
    return {f"{kind}.{verb}": CommandType(f"{kind}.{verb}", kind, model, multi_record) for verb, model in verbs.items()}


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
    **_catalogue("consumer", {"set_many": ConsumerSetMany, "reshape": ConsumerReshape}, multi_record=True),
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


@dataclass(frozen=True, slots=True)
class RecordType:
    """A kind of record: what its ids are, and what reads and events show of it."""

    subject: TypeAdapter[str]
    state: type[Shown]


_UUID_SUBJECT: TypeAdapter[str] = TypeAdapter(Uuid)
RECORDS: dict[Kind, RecordType] = {
    "provider": RecordType(_UUID_SUBJECT, ProviderState),
    "consumer": RecordType(_UUID_SUBJECT, ConsumerState),
    "stack": RecordType(_UUID_SUBJECT, StackState),
    "document": RecordType(TypeAdapter(DocumentId), DocumentState),
}
"""All kinds. Each is read by the query `<kind>.get`."""

SUBJECTS: dict[Kind, TypeAdapter[str]] = {kind: record.subject for kind, record in RECORDS.items()}
"""What may stand as the subject of a command or a query on a record of the kind."""

STATES: dict[Kind, type[Shown]] = {kind: record.state for kind, record in RECORDS.items()}
"""The models of the states."""
