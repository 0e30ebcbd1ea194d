"""What holds of the entries of every rejection: they have a code, and point into what was sent."""

from collections.abc import Sequence
from typing import Any

from genlock.schemas.codes import Code
from genlock.schemas.faults import FieldError
from tests.support.pointers import resolved

NOWHERE = (Code.INTERNAL_ERROR, Code.USER_REQUIRED)
"""The codes of faults that stand nowhere in a command."""


def check_entries(errors: Sequence[FieldError], sent: dict[str, Any]) -> None:
    """Check that the entries are true of what was sent. Raises AssertionError, and LookupError for a false pointer."""
    assert errors
    for entry in errors:
        assert isinstance(entry.code, Code), entry
        assert entry.message
        if entry.code in NOWHERE:
            assert (entry.path, entry.pointer) == ("", None)
        elif entry.pointer is not None:
            _check_place(entry, sent)
        else:
            # Too long a pointer is left out, not the path.
            assert entry.path


def _check_place(entry: FieldError, sent: dict[str, Any]) -> None:
    assert entry.pointer is not None
    above, _, last = entry.pointer.rpartition("/")
    name = last.replace("~1", "/").replace("~0", "~")
    if "required" in entry.constraints:
        # Null counts as absent.
        assert resolved(above, sent).get(name) is None
        assert entry.value is None
        return
    there = resolved(entry.pointer, sent)
    assert entry.path or there is sent
    if "value" in entry.model_fields_set:
        in_a_term = isinstance(there, str) and isinstance(entry.value, str) and entry.value.lower() in there.lower()
        assert entry.value in (there, name) or in_a_term, entry
