"""The standard names of resource classes and traits, and suggestions for misspelt ones."""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import islice
from typing import Annotated, Literal

import os_resource_classes
import os_traits
from pydantic import Field

from genlock.schemas.codes import Code
from genlock.schemas.faults import ERRORS_MAX, Fault, Faults, Place
from genlock.schemas.suggestions import nearest

CUSTOM = "CUSTOM_"
COMPLAINTS_MAX = 10
"""How many unknown names a sentence lists. A command may have 100,000."""

NAME_PATTERN = r"^[A-Z0-9_]+$"
ResourceClass = Annotated[str, Field(pattern=NAME_PATTERN, min_length=1, max_length=255)]
Trait = Annotated[str, Field(pattern=NAME_PATTERN, min_length=1, max_length=255)]

Vocabulary = Literal["resource class", "trait"]


@cache
def standard(vocabulary: Vocabulary) -> frozenset[str]:
    """The standard names, from the packages os-resource-classes and os-traits."""
    if vocabulary == "resource class":
        return frozenset(os_resource_classes.STANDARDS)
    return frozenset(os_traits.get_traits())


def unknown(vocabulary: Vocabulary, names: "set[str] | frozenset[str] | list[str]") -> list[str]:
    """The names that are neither standard nor custom, sorted. The bare prefix is no name."""
    return sorted(name for name in set(names) - standard(vocabulary) if not name.startswith(CUSTOM) or name == CUSTOM)


def misnamed(vocabulary: Vocabulary, names: Sequence[str], places: Iterable[tuple[str, Place]]) -> Faults:
    """A fault for each place that has one of these unknown names. A member's name is the last part of its place."""
    wrong = set(names)
    found = ((name, at) for name, at in places if name in wrong)
    code = Code.UNKNOWN_RESOURCE_CLASS if vocabulary == "resource class" else Code.UNKNOWN_TRAIT
    listed = tuple(
        Fault(
            code,
            f"{name} is not a standard {vocabulary}, and lacks the prefix {CUSTOM}.",
            at,
            named=at[-1] == name,
            found=name,
            known=standard(vocabulary),
        )
        for name, at in islice(found, ERRORS_MAX)
    )
    return Faults(listed, len(listed) + sum(1 for _ in found), complaint(vocabulary, names))


def complaint(vocabulary: Vocabulary, names: Sequence[str]) -> str:
    """A sentence about unknown names, with the nearest standard ones."""
    told = []
    for name in names[:COMPLAINTS_MAX]:
        near = nearest(name, standard(vocabulary))
        told.append(f"{name} (did you mean {' or '.join(near)}?)" if near else name)
    more = f", and {len(names) - COMPLAINTS_MAX} more" if len(names) > COMPLAINTS_MAX else ""
    return f"Not a standard {vocabulary}, and without the prefix {CUSTOM}: {', '.join(told)}{more}."
