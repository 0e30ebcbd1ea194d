"""Genlock guards shared records against lost updates. This is its Python API.

connect, Client
    the connection and its operations
command, Command
    a command, made from its data
ProviderCreate, ProviderUpdate, ProviderDelete, ProviderSetInventories, ProviderPutInventory, ProviderDeleteInventory,
ProviderSetTraits, ProviderSetAggregates, Inventory
    the commands on resource providers, and the inventories in them
ConsumerSetAllocations, ConsumerSetMany, ConsumerReshape, ConsumerAllocations, Allocation, NewInventories
    the commands on consumers of providers, and the allocations in them
DocumentPut, DocumentMerge, DocumentDelete
    the commands on documents
StackCreate, StackUpdate, StackDelete, StackRollback, StackCancel, StackSetState
    the commands on stacks
Outcome, Succeeded, Conflict, Rejected
    the outcome of a command: `Outcome` is the union of the other three
UnknownEvent
    an event of a type that only a newer service knows, as subscriptions yield it
Token, GenerationToken, TraversalToken, Winner, Retry, Failure, FieldError, Shortage, Reason, Code
    the parts of an outcome
ProviderState, ConsumerState, DocumentState, StackState
    the state of a record, as reads return it
DocumentDraft, StackDraft, ProviderDraft, ConsumerDraft
    commands without their token, as `Client.change` takes them
GenlockError, InvalidMessage, CannotConnect, NotTaken, Unroutable, Refused, Unanswered, NoAnswer, NoService,
Disconnected, ClientClosed, UnreadableAnswer, Undecodable, GaveUp, QueryFailed
    the exceptions; genlock.errors shows their hierarchy

Importing it neither connects nor reads the environment.
"""

from genlock._client.drafts import ConsumerDraft, DocumentDraft, ProviderDraft, StackDraft
from genlock.client import Client, connect
from genlock.commands import Command, command
from genlock.errors import (
    CannotConnect,
    ClientClosed,
    Disconnected,
    GaveUp,
    GenlockError,
    InvalidMessage,
    NoAnswer,
    NoService,
    NotTaken,
    QueryFailed,
    Refused,
    Unanswered,
    Undecodable,
    UnreadableAnswer,
    Unroutable,
)
from genlock.schemas.codes import Code, Reason
from genlock.schemas.consumers import (
    Allocation,
    ConsumerAllocations,
    ConsumerReshape,
    ConsumerSetAllocations,
    ConsumerSetMany,
    ConsumerState,
    NewInventories,
)
from genlock.schemas.documents import DocumentDelete, DocumentMerge, DocumentPut, DocumentState
from genlock.schemas.faults import FieldError
from genlock.schemas.outcomes import (
    Conflict,
    Failure,
    GenerationToken,
    Outcome,
    Rejected,
    Retry,
    Shortage,
    Succeeded,
    Token,
    TraversalToken,
    UnknownEvent,
    Winner,
)
from genlock.schemas.providers import (
    Inventory,
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

__all__ = [
    "Allocation",
    "CannotConnect",
    "Client",
    "ClientClosed",
    "Code",
    "Command",
    "Conflict",
    "ConsumerAllocations",
    "ConsumerDraft",
    "ConsumerReshape",
    "ConsumerSetAllocations",
    "ConsumerSetMany",
    "ConsumerState",
    "Disconnected",
    "DocumentDelete",
    "DocumentDraft",
    "DocumentMerge",
    "DocumentPut",
    "DocumentState",
    "Failure",
    "FieldError",
    "GaveUp",
    "GenerationToken",
    "GenlockError",
    "InvalidMessage",
    "Inventory",
    "NewInventories",
    "NoAnswer",
    "NoService",
    "NotTaken",
    "Outcome",
    "ProviderCreate",
    "ProviderDelete",
    "ProviderDeleteInventory",
    "ProviderDraft",
    "ProviderPutInventory",
    "ProviderSetAggregates",
    "ProviderSetInventories",
    "ProviderSetTraits",
    "ProviderState",
    "ProviderUpdate",
    "QueryFailed",
    "Reason",
    "Refused",
    "Rejected",
    "Retry",
    "Shortage",
    "StackCancel",
    "StackCreate",
    "StackDelete",
    "StackDraft",
    "StackRollback",
    "StackSetState",
    "StackState",
    "StackUpdate",
    "Succeeded",
    "Token",
    "TraversalToken",
    "Unanswered",
    "Undecodable",
    "UnknownEvent",
    "UnreadableAnswer",
    "Unroutable",
    "Winner",
    "command",
    "connect",
]
