"""Genlock guards shared records against lost updates; this is what a Python program uses of it.

connect, Client
    the connection and what can be done with it
command, Command
    how a command is made of its data
ProviderCreate, ProviderUpdate, ProviderDelete, ProviderSetInventories, ProviderPutInventory, ProviderDeleteInventory,
ProviderSetTraits, ProviderSetAggregates, Inventory
    the commands on resource providers, and what they say of an inventory
ConsumerSetAllocations, ConsumerSetMany, ConsumerReshape, ConsumerAllocations, Allocation, NewInventories
    the commands on consumers of what providers have, and what they consist of
DocumentPut, DocumentMerge, DocumentDelete
    the commands on documents
StackCreate, StackUpdate, StackDelete, StackRollback, StackCancel, StackSetState
    the commands on stacks
Outcome, Succeeded, Conflict, Rejected
    what becomes of a command: `Outcome` is the union of the other three
Token, GenerationToken, TraversalToken, Winner, Retry, Failure, FieldError, Shortage, Reason, Code
    what an outcome holds
ProviderState, ConsumerState, DocumentState, StackState
    what a record looks like when it is read
DocumentDraft, StackDraft, ProviderDraft, ConsumerDraft
    commands without their token, as `Client.change` takes them
GenlockError, InvalidMessage, CannotConnect, NotTaken, Unroutable, Refused, Unanswered, NoAnswer, NoService,
Disconnected, ClientClosed, UnreadableAnswer, GaveUp, QueryFailed
    what is raised; genlock.errors shows how they belong together

Importing it neither connects nor reads the environment.
"""

from genlock._drafts import ConsumerDraft, DocumentDraft, ProviderDraft, StackDraft
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
from genlock.schemas.outcomes import (
    Conflict,
    Failure,
    FieldError,
    GenerationToken,
    Outcome,
    Rejected,
    Retry,
    Shortage,
    Succeeded,
    Token,
    TraversalToken,
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
    "UnreadableAnswer",
    "Unroutable",
    "Winner",
    "command",
    "connect",
]
