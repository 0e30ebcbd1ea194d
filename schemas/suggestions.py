"""The nearest of some known names to one that is none of them."""

import difflib
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import lru_cache

NEAREST_MAX = 3
CANDIDATES_MAX = 8
"""How many names that have most pairs of letters in common are compared closely, which takes 50 µs for each."""

NAME_CHARACTERS_MAX = 255
KNOWN_MAX = 500
"""More names are not looked through: there are 400 standard traits, and a provider may have thousands of classes."""


# So few that they take no memory worth naming: a message needs the same ones twice.
@lru_cache(maxsize=64)
def nearest(name: str, known: frozenset[str]) -> tuple[str, ...]:
    """At most three of the known names, the nearest first. Letters are compared without case.

    Takes some tenths of a millisecond. There are none among very many names.
    """
    if len(name) > NAME_CHARACTERS_MAX or len(known) > KNOWN_MAX:
        return ()
    pairs = _by_pair(known)
    own = _pairs(name.lower())
    shared: Counter[str] = Counter()
    for pair in own:
        shared.update(pairs.get(pair, ()))
    ranked = sorted(shared, key=lambda other: (-shared[other] / (len(own) + len(other)), other))[:CANDIDATES_MAX]
    by_letters = {other.lower(): other for other in ranked}
    near = difflib.get_close_matches(name.lower(), by_letters, NEAREST_MAX)
    return tuple(by_letters[letters] for letters in near)


@lru_cache(maxsize=8)
def _by_pair(known: frozenset[str]) -> Mapping[str, list[str]]:
    """The known names by each pair of letters in them."""
    names: dict[str, list[str]] = defaultdict(list)
    for name in known:
        for pair in _pairs(name.lower()):
            names[pair].append(name)
    return names


def _pairs(name: str) -> set[str]:
    return {name[at : at + 2] for at in range(len(name) - 1)}
