"""The words that programs compare: verdicts, conflict reasons and rejection codes.

They are lower-case words joined by underscores, and never change their meaning. A new one may be added. What each means
and what its reader does about it is Markdown, for the pages in docs/reference/.
"""

from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """A word of the contract: its value, what it means, and what to do about it."""

    means: str
    remedy: str
    of_query: str
    """What it means as the error of a query, empty for a word that no query is answered with."""

    # With defaults, so that type checkers take `Code("expired")` for the look-up that it is.
    def __new__(cls, word: str, means: str = "", remedy: str = "", of_query: str = "") -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.means = means
        member.remedy = remedy
        member.of_query = of_query
        return member


class VerdictName(Word):
    """What a command came to. The type of its outcome event ends in this word."""

    SUCCEEDED = (
        "succeeded",
        "The command was applied.",
        "Keep `token`: the next command on the record expects it.",
    )
    CONFLICT = (
        "conflict",
        "The record was not as the author of the command had seen it. Nothing was changed.",
        "Decide again from `current`, or from a new read, and send a new command after `retry.after_ms`.",
    )
    REJECTED = (
        "rejected",
        "The command can never work as it is. Nothing was changed.",
        "Correct what `code` and `errors` say, and send a new command. The same id is answered with the same outcome.",
    )


class Reason(Word):
    """Why a command conflicts: the record is not as the author of the command had seen it."""

    STALE = (
        "stale",
        "The record has a later generation than the expected one.",
        "Decide again from `current`. `winner` is the command that made the current generation.",
    )
    AHEAD = (
        "ahead",
        "The record has an earlier generation than the expected one, or the stack never had the expected traversal.",
        "Wait for the command that makes the expected token, or read the record again.",
    )
    EXISTS = (
        "exists",
        "The command expects that there is no record, and there is one.",
        "Decide again from `current`, with its token.",
    )
    MISSING = (
        "missing",
        "The command expects a token, and there is no record.",
        "Create the record, or give up. Perhaps the command that creates it is still under way.",
    )
    SUPERSEDED = (
        "superseded",
        "Another run has taken the stack over since the expected traversal.",
        "Stop the run that the command belongs to. To change the stack, decide again from `current`.",
    )


class Code(Word):
    """Why a command is rejected, or a query is answered with an error."""

    UNKNOWN_TYPE = (
        "unknown_type",
        "The catalogue of the service has no command of this type.",
        "Correct the type, or upgrade the service.",
        "The service has no query of this type.",
    )
    INVALID_DATA = (
        "invalid_data",
        "The JSON, the envelope, the subject or the data are not valid.",
        "Correct what `errors` lists: each has the `pointer` to a field and the `constraints` that it breaks.",
        "The subject, a filter or the cursor `after` is not valid.",
    )
    TOO_LARGE = (
        "too_large",
        "The command has more than 1 MiB, or its document or template would have more than 512 KiB of JSON.",
        "Send less, or keep the content elsewhere and a reference to it in the record.",
        "The answer would have more than 12 MiB. Ask for fewer records at once.",
    )
    EXPIRED = (
        "expired",
        "The command is older than the service remembers ids, by its own clock and by that of the database.",
        "Read the record. If the change is still wanted, send it as a new command.",
    )
    USER_REQUIRED = (
        "user_required",
        "The broker does not tell which of its users published the command, and the service requires that.",
        "Publish with the AMQP property `user_id` set to the user of the connection, under a new id.",
    )
    ROUTING_KEY_MISMATCH = (
        "routing_key_mismatch",
        "The routing key is not the type of the command.",
        "Publish with the type as the routing key.",
        "The routing key is not the type of the query.",
    )
    ID_REUSED = (
        "id_reused",
        "The id was used before, with another type, subject or data. The first decision stands.",
        "Send the command under a new id.",
    )
    NOT_FOUND = (
        "not_found",
        "There is no such record, and the command does not create it.",
        "Correct the id, or create the record first.",
        "There is no such record. A deleted one is not found either, but its history is.",
    )
    DUPLICATE_NAME = (
        "duplicate_name",
        "Another live record of the kind has the name.",
        "Take another name, or rename or delete the other record first.",
    )
    DELETED = (
        "deleted",
        "The stack was deleted. The id of a stack is never used again.",
        "Create a stack under a new id.",
    )
    INVENTORY_IN_USE = (
        "inventory_in_use",
        "The command removes an inventory that consumers have allocations of.",
        "Remove the allocations first, or replace inventories and allocations together (`consumer.reshape`).",
    )
    PROVIDER_IN_USE = (
        "provider_in_use",
        "Consumers have allocations of the provider.",
        "Remove the allocations first.",
    )
    PROVIDER_HAS_CHILDREN = (
        "provider_has_children",
        "There are providers below this one.",
        "Delete or move the providers below it first.",
    )
    PARENT_NOT_FOUND = (
        "parent_not_found",
        "There is no provider with the id `parent_id`.",
        "Correct the id, or create the parent first.",
    )
    PARENT_LOOP = (
        "parent_loop",
        "The parent is the provider itself, or stands below it.",
        "Choose a parent outside of the provider's own tree below it.",
    )
    UNKNOWN_RESOURCE_CLASS = (
        "unknown_resource_class",
        "The resource class is neither standard nor has the prefix `CUSTOM_`. `suggestions` has the nearest names.",
        "Correct the name, or give it the prefix.",
        "A resource class in `resources` is neither standard nor has the prefix `CUSTOM_`.",
    )
    UNKNOWN_TRAIT = (
        "unknown_trait",
        "The trait is neither standard nor has the prefix `CUSTOM_`. `suggestions` has the nearest names.",
        "Correct the name, or give it the prefix.",
        "A trait in `required` is neither standard nor has the prefix `CUSTOM_`.",
    )
    NO_INVENTORY = (
        "no_inventory",
        "The provider has no inventory of the resource class.",
        "Choose another provider, or add the inventory first.",
    )
    CAPACITY_EXCEEDED = (
        "capacity_exceeded",
        "More would be allocated than the capacity. `shortages` lists the request, the use and the capacity.",
        "Ask for less, choose another provider, or wait until others give something back.",
    )
    UNIT_CONSTRAINT_VIOLATED = (
        "unit_constraint_violated",
        "An amount is less than `min_unit`, more than `max_unit`, or no multiple of `step_size`.",
        "Ask for an amount that the inventory allows.",
    )
    WRONG_ACTION = (
        "wrong_action",
        "The stack does not take the command during its present action.",
        "Wait until the action has ended, or read the [table of states](../contract.md#stacks).",
    )
    WRONG_STATUS = (
        "wrong_status",
        "The stack does not take the command in its present status.",
        "Read the stack and decide again; the [table of states](../contract.md#stacks) shows what it takes.",
    )
    INTERNAL_ERROR = (
        "internal_error",
        "The service failed on the command, and logged why. A copy of the command is in the dead letters.",
        "Tell an operator: they can [retry the command](../dead-letters.md#under-which-id-a-command-is-retried).",
        "The service failed on the query, and logged why.",
    )
