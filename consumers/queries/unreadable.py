"""Reading the envelope of a query, and what is told of one that cannot be read."""

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from genlock.schemas.base import JsonObject
from genlock.schemas.codes import Code
from genlock.schemas.decode import COMMAND_BYTES_MAX
from genlock.schemas.envelope import Envelope, read_id
from genlock.schemas.faults import Fault, Faults
from genlock.schemas.invalid import invalid
from genlock.schemas.strictjson import parse, without_mark

UNDECODABLE = "query.undecodable"
"""The type of the answer to a query that has no readable envelope."""

SHORT_TEXT_BYTES_MAX = 255


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A query that cannot be read: what is wrong, in what was sent as far as that is known."""

    body: bytes
    faults: Faults
    sent: JsonObject = field(default_factory=dict)

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes that its answer has of its own. A copy has the same id."""
        answer_id = uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(self.body).hexdigest())
        cause = {"causationid": query_id} if (query_id := read_id(self.sent)) else {}
        return {"id": str(answer_id), "type": UNDECODABLE, **cause}


def read_envelope(body: bytes) -> Envelope | Unreadable:
    """Read a query's envelope."""
    if len(body) > COMMAND_BYTES_MAX:
        return _unreadable(body, f"{len(body)} bytes are too many for a query")
    try:
        parsed = parse(without_mark(body).decode())
    except ValueError as error:
        return _unreadable(body, str(error))
    sent = parsed.value
    if parsed.violations or not isinstance(sent, dict):
        told = ", ".join(f"{violation.path or 'it'} {violation.clause}" for violation in parsed.violations)
        return _unreadable(body, f"not strict JSON: {told}" if told else "no JSON object")
    try:
        envelope = Envelope.model_validate(sent)
    except ValidationError as error:
        found = invalid(error, "")
        told = "; ".join(f"{fault.at[0]}: {fault.message}" for fault in found.listed if fault.at)
        return Unreadable(body, Faults(found.listed, found.total, f"The query has no valid envelope: {told}."), sent)
    if len(f"{envelope.type}.result".encode()) > SHORT_TEXT_BYTES_MAX:
        return _unreadable(body, "its type is too long for that of an answer")
    return envelope


def _unreadable(body: bytes, why: str) -> Unreadable:
    return Unreadable(body, Faults.of([Fault(Code.INVALID_DATA, f"The query cannot be read: {why}.")]))
