"""The words that programs compare: verdicts, conflict reasons and rejection codes.

They are lower-case words joined by underscores, and never change their meaning. A new one may be added.
"""

from enum import StrEnum


class VerdictName(StrEnum):
    SUCCEEDED = "succeeded"
    CONFLICT = "conflict"
    REJECTED = "rejected"


class Reason(StrEnum):
    """Why a command conflicts: somebody else got there first."""

    STALE = "stale"  # expected generation < actual
    AHEAD = "ahead"  # expected > actual, or a traversal that the stack has never had
    EXISTS = "exists"  # expected absent, but there is one
    MISSING = "missing"  # a token was expected, but there is no record
    SUPERSEDED = "superseded"  # a traversal that the stack had once


class Code(StrEnum):
    """Why a command is rejected: it can never work as it is."""

    UNKNOWN_TYPE = "unknown_type"
    INVALID_DATA = "invalid_data"
    TOO_LARGE = "too_large"
    EXPIRED = "expired"
    ROUTING_KEY_MISMATCH = "routing_key_mismatch"
    ID_REUSED = "id_reused"
    NOT_FOUND = "not_found"
    DUPLICATE_NAME = "duplicate_name"
    DELETED = "deleted"
    INVENTORY_IN_USE = "inventory_in_use"
    PROVIDER_IN_USE = "provider_in_use"
    PROVIDER_HAS_CHILDREN = "provider_has_children"
    PARENT_NOT_FOUND = "parent_not_found"
    PARENT_LOOP = "parent_loop"
    UNKNOWN_RESOURCE_CLASS = "unknown_resource_class"
    UNKNOWN_TRAIT = "unknown_trait"
    NO_INVENTORY = "no_inventory"
    CAPACITY_EXCEEDED = "capacity_exceeded"
    UNIT_CONSTRAINT_VIOLATED = "unit_constraint_violated"
    WRONG_ACTION = "wrong_action"
    WRONG_STATUS = "wrong_status"
    INTERNAL_ERROR = "internal_error"
