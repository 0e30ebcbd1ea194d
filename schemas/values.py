"""Values: dataclasses whose fields are set once, when they are made."""

import dataclasses
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """Make a dataclass of which every command needs a few.

    That nobody sets its fields again is for the type checker to see: a frozen dataclass takes five times as long to
    make, which for those of one command was a twentieth of its processor time.
    """
    return dataclasses.dataclass(slots=True, unsafe_hash=True)(cls)
