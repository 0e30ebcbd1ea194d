"""Commands on documents, as publishers send them."""

from typing import Any

import genlock
from tests.support.factories import Json, envelope, new_id


def creation(subject: str | None = None, body: Json | None = None, **attributes: Any) -> Json:
    """A command that succeeds once: it expects that the document does not exist."""
    data = {"expected_generation": None, "body": body or {}}
    return envelope("document.put", subject or new_id(), data, **attributes)


def merge(subject: str, patch: Json | None = None, **attributes: Any) -> Json:
    """A command that expects no generation, so that it succeeds as often as it is decided."""
    return envelope("document.merge", subject, {"patch": patch or {"merged": True}}, **attributes)


def creating(subject: str | None = None) -> genlock.Command:
    """The creation of a document, for Genlock's client to send."""
    return genlock.command(genlock.DocumentPut(expected_generation=None, body={}), subject=subject or new_id())
