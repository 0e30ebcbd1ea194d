"""Genlock guards shared records against lost updates; this is what a Python program uses of it.

connect, Client
    the connection and what can be done with it
command, Command
    how a command is made of its data
ProviderCreate, ProviderUpdate, ProviderDelete, ProviderSetInventories, ProviderPutInventory, ProviderDeleteInventory,
ProviderSetTraits, ProviderSetAggregates, Inventory
    the commands on resource providers, and what they say of an inventory
DocumentPut, DocumentMerge, DocumentDelete
    the commands on documents
StackCreate, StackUpdate, StackDelete, StackRollback, StackCancel, StackSetState
    the commands on stacks
Outcome, Succeeded, Conflict, Rejected
    what becomes of a command: `Outcome` is the union of the other three
Token, GenerationToken, TraversalToken, Winner, Retry, FieldError, Reason, Code
    what an outcome holds
ProviderState, DocumentState, StackState
    what a record looks like when it is read
DocumentDraft, StackDraft, ProviderDraft
    commands without their token, as `Client.change` takes them
GenlockError, InvalidMessage, CannotConnect, NotTaken, Unroutable, Refused, Unanswered, NoAnswer, Disconnected,
UnreadableAnswer, GaveUp, QueryFailed
    what is raised; genlock.errors shows how they belong together

Importing it neither connects nor reads the environment.
"""

from genlock._drafts import DocumentDraft, ProviderDraft, StackDraft
from genlock.client import Client, connect
from genlock.commands import Command, command
from genlock.errors import (
    CannotConnect,
    Disconnected,
    GaveUp,
    GenlockError,
    InvalidMessage,
    NoAnswer,
    NotTaken,
    QueryFailed,
    Refused,
    Unanswered,
    UnreadableAnswer,
    Unroutable,
)
from genlock.schemas.codes import Code, Reason
from genlock.schemas.documents import DocumentDelete, DocumentMerge, DocumentPut, DocumentState
from genlock.schemas.outcomes import (
    Conflict,
    FieldError,
    GenerationToken,
    Outcome,
    Rejected,
    Retry,
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
    "CannotConnect",
    "Client",
    "Code",
    "Command",
    "Conflict",
    "Disconnected",
    "DocumentDelete",
    "DocumentDraft",
    "DocumentMerge",
    "DocumentPut",
    "DocumentState",
    "FieldError",
    "GaveUp",
    "GenerationToken",
    "GenlockError",
    "InvalidMessage",
    "Inventory",
    "NoAnswer",
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
