"""JSON Pointers, RFC 6901, written independently of the product."""

from typing import Any


def resolved(pointer: str, document: Any) -> Any:
    """What a pointer leads to. Raises LookupError, or ValueError for an index that is none, where that is nothing."""
    here = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        here = here[int(name)] if isinstance(here, list) else here[name]
    return here
