"""The standard names of resource classes and traits, and which of them somebody may have meant."""

import difflib
from functools import cache
from typing import Annotated, Literal

import os_resource_classes
import os_traits
from pydantic import Field

CUSTOM = "CUSTOM_"
SUGGESTIONS_MAX = 3
COMPLAINTS_MAX = 10
"""How many unknown names are told: looking for what is near takes milliseconds each, and a command can hold 100,000."""

ResourceClass = Annotated[str, Field(pattern=r"^[A-Z0-9_]+$", min_length=1, max_length=255)]
Trait = Annotated[str, Field(pattern=r"^[A-Z0-9_]+$", min_length=1, max_length=255)]

Vocabulary = Literal["resource class", "trait"]


@cache
def standard(vocabulary: Vocabulary) -> frozenset[str]:
    """The standard names, from the packages os-resource-classes and os-traits."""
    if vocabulary == "resource class":
        return frozenset(os_resource_classes.STANDARDS)
    return frozenset(os_traits.get_traits())


def unknown(vocabulary: Vocabulary, names: "set[str] | frozenset[str] | list[str]") -> list[str]:
    """Those names that are neither standard nor custom, sorted. The prefix alone is no name."""
    return sorted(name for name in set(names) - standard(vocabulary) if not name.startswith(CUSTOM) or name == CUSTOM)


def complaint(vocabulary: Vocabulary, names: list[str]) -> str:
    """A sentence for a person about names that are unknown, with the nearest standard ones."""
    told = []
    for name in names[:COMPLAINTS_MAX]:
        near = difflib.get_close_matches(name, standard(vocabulary), SUGGESTIONS_MAX)
        told.append(f"{name} (did you mean {' or '.join(near)}?)" if near else name)
    more = f", and {len(names) - COMPLAINTS_MAX} more" if len(names) > COMPLAINTS_MAX else ""
    return f"Not a standard {vocabulary}, and without the prefix {CUSTOM}: {', '.join(told)}{more}."
