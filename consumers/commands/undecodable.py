"""The answer for a message that has an envelope but no usable id."""

import hashlib
import uuid
from typing import Any

from genlock.schemas.base import compact_json
from genlock.schemas.codes import Code
from genlock.schemas.decode import Undecodable
from genlock.schemas.faults import Fault, entries
from genlock.schemas.outcomes import CommandEcho
from genlock.schemas.undecodable import UNDECODABLE, UndecodableAnswer, UndecodableData
from genlock.service.ledger.events import Event, timestamp_now


def undecodable_answer(undecodable: Undecodable, body: bytes, source: str) -> Event | None:
    """What the publisher of a message is told; None where the message has no envelope."""
    known = undecodable.attributes
    if known is None:
        return None
    moment = timestamp_now()
    fault = Fault(Code.INVALID_DATA, f"A command needs one UUID as its id; this has {undecodable.reason}.", at=("id",))
    data = UndecodableData(
        code=Code.INVALID_DATA,
        message=f"The command cannot be decided: it has {undecodable.reason}. A copy of it is in the dead letters.",
        errors=entries([fault], {}),
        command=CommandEcho.model_validate({name: known[name] for name in ("type", "subject") if name in known}),
    )
    answer = UndecodableAnswer(
        specversion="1.0",
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(body).hexdigest())),
        source=source,
        type="command.undecodable",
        subject=known.get("subject"),
        time=moment,
        correlationid=known.get("correlationid"),
        data=data,
    )
    members: dict[str, Any] = answer.model_dump(exclude_unset=True, exclude_none=True)
    written = compact_json(members | {"datacontenttype": answer.datacontenttype})
    return Event(answer.id, UNDECODABLE, answer.subject, moment, written, command_id="")
