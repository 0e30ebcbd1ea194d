"""The rules of documents: pure functions from a state and a command to a decision."""

from collections.abc import Mapping
from typing import Any

from genlock.schemas.base import DOCUMENT_BYTES_MAX
from genlock.schemas.codes import Code
from genlock.schemas.decode import Command
from genlock.schemas.documents import DocumentDelete, DocumentMerge, DocumentPut
from genlock.schemas.faults import Fault
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.generations import EXPECTED, EXPECTED_IF_GIVEN, GENERATION_FIRST
from genlock.service.deciding.json_text import JsonText
from genlock.service.deciding.rule import Rule
from genlock.service.deciding.state import State, made_by
from genlock.service.deciding.verdicts import Decision, rejected, succeeded
from genlock.service.kinds.documents.record import Document


def put(state: State, command: Command, body: JsonText, decided_at: str) -> Decision:
    """Replace the whole body, or create the document where null is expected."""
    return _stored(command, state.get(Document, command.subject), body, decided_at)


def merge(state: State, command: Command, data: DocumentMerge, decided_at: str) -> Decision:
    """Apply the patch to the body that was expected, or to whatever is current where no generation is given."""
    record = state.get(Document, command.subject)
    if "expected_generation" not in data.model_fields_set and (record is None or record.deleted):
        message = f"There is no document {command.subject!r} to merge into."
        fault = Fault(Code.NOT_FOUND, message, ("subject",), kind="document", id=command.subject)
        return rejected(command, record, fault)
    body = JsonText(merged(record.body.value if record and record.body else {}, data.patch))
    return _too_large(command, record, "patch") if body.too_large else _stored(command, record, body, decided_at)


def delete(state: State, command: Command, _data: DocumentDelete, decided_at: str) -> Decision:
    """Leave a tombstone with the next generation."""
    return _stored(command, state.get(Document, command.subject), None, decided_at)


def _body(state: State, command: Command, data: DocumentPut) -> JsonText | Decision:
    """The body of a put, unless it is too large."""
    body = JsonText(data.body)
    return _too_large(command, state.get(Document, command.subject), "body") if body.too_large else body


def _footprint(footprint: Footprint, command: Command, _data: Any) -> None:
    footprint.change("document", command.subject)


def _stored(command: Command, record: Document | None, body: JsonText | None, decided_at: str) -> Decision:
    """Accept the body under the next generation; one that was deleted goes on from its tombstone."""
    generation = GENERATION_FIRST if record is None else record.generation + 1
    sequence = 1 if record is None else record.sequence + 1
    return succeeded(Document(command.subject, generation, sequence, made_by(command, decided_at), body))


def _too_large(command: Command, record: Document | None, field: str) -> Decision:
    message = f"The document would be larger than {DOCUMENT_BYTES_MAX} bytes of JSON."
    limit = {"max_bytes": DOCUMENT_BYTES_MAX}
    return rejected(command, record, Fault(Code.TOO_LARGE, message, ("data", field), constraints=limit))


def merged(target: Any, patch: Any) -> Any:
    """Apply a JSON Merge Patch (RFC 7396, section 2) and return the result; neither argument is changed."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


RULES: Mapping[str, Rule] = {
    "document.put": Rule(put, EXPECTED, _footprint, prepare=_body),
    "document.merge": Rule(merge, EXPECTED_IF_GIVEN, _footprint),
    "document.delete": Rule(delete, EXPECTED, _footprint),
}
