"""Terms of provider.list, in OpenStack Placement's words: all of them, any of several (`in:`), none of them (`!`)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field

TERMS_MAX = 256
"""The most terms of one filter. Each is compared with every provider that passes the others."""

ANY_OF = "in:"
NONE_OF = "!"

_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_TRAIT = "[A-Z0-9_]{1,255}"


def _of_form(pattern: str, form: str) -> tuple[Any, Any]:
    """The annotation of a term: the pattern for programs, the form for people."""
    compiled = re.compile(pattern)

    def check(term: str) -> str:
        if not compiled.fullmatch(term):
            raise ValueError(f"must be {form}")
        return term

    return Field(description=form, json_schema_extra={"pattern": f"^{pattern}$"}), AfterValidator(check)


AggregateTerm = Annotated[
    str,
    *_of_form(f"!?({_UUID}|in:{_UUID}(,{_UUID})*)", "UUID, in:UUID,UUID, !UUID or !in:UUID,UUID"),
    AfterValidator(str.lower),
]
TraitTerm = Annotated[str, *_of_form(f"(!?{_TRAIT}|in:{_TRAIT}(,{_TRAIT})*)", "TRAIT, in:TRAIT,TRAIT or !TRAIT")]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


AggregateTerms = Annotated[
    list[AggregateTerm],
    Field(max_length=TERMS_MAX),
    BeforeValidator(_listed, json_schema_input_type=AggregateTerm | list[AggregateTerm]),
]
TraitTerms = Annotated[list[TraitTerm], Field(max_length=TERMS_MAX)]


@dataclass(frozen=True, slots=True)
class Terms:
    """The conditions on a provider: it has all of `all_of`, any of each group of `any_of`, and none of `none_of`."""

    all_of: tuple[str, ...]
    any_of: tuple[tuple[str, ...], ...]
    none_of: tuple[str, ...]

    @classmethod
    def parse(cls, terms: Iterable[str]) -> Self:
        """Parse terms in one of these forms."""
        all_of: list[str] = []
        any_of: list[tuple[str, ...]] = []
        none_of: list[str] = []
        for term in terms:
            names = tuple(term.removeprefix(NONE_OF).removeprefix(ANY_OF).split(","))
            if term.startswith(NONE_OF):
                none_of += names
            elif len(names) > 1:
                any_of.append(names)
            else:
                all_of += names
        return cls(tuple(all_of), tuple(any_of), tuple(none_of))

    @property
    def names(self) -> frozenset[str]:
        """All names in the terms."""
        return frozenset((*self.all_of, *self.none_of, *(name for group in self.any_of for name in group)))
