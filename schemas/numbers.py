"""Decimal numbers as they are written in JSON, against the doubles that they are read as.

A number is kept if its double, rounded to as many digits as are written, is the number that was written, or if the
shortest text of its double is. So whatever a program prints of a double of its own is kept, be that `0.1`, `1.10`,
`1e2` or the seventeen digits of `0.10000000000000001`. A number with more to it would be changed silently.
"""

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from functools import lru_cache

import orjson

TOO_LARGE = "does not fit into a double"
CHANGED = "has more digits than a double keeps"
TOO_SMALL = "is smaller than the smallest double"

INTEGER_DIGITS_MAX = 19
"""An integer of fewer digits fits into 63 bits."""

SAFE_DIGITS = 15
"""Any number of so many significant digits is its double, rounded to as many (DBL_DIG)."""

SAFE_CHARACTERS_MAX = 32
PLAIN_CHARACTERS_MAX = 40

SAFE_EXPONENT_MAX = 307
SAFE_PLACE_MIN = -323
"""The smallest doubles are 4.94e-324 apart. A last digit of this place or a larger one is worth more than that."""

_OVERFLOW = Decimal(2**1024 - 2**970)
"""From here on a number rounds to infinity."""

_UNDERFLOW_EXPONENT, _OVERFLOW_EXPONENT = -400, 400
"""Beyond these a double is zero, or infinite, for sure."""

# Numbers with 16 characters or more in front of the exponent, or with an exponent of three digits or more. No other
# number can be changed by its double. Texts may have such digits too, which costs time and nothing else.
_UNSAFE = re.compile(
    r"(?<![^\s:,\[\-])(?:\d[\d.]{15,}+(?:[eE][-+]?\d+)?|\d[\d.]{0,15}+[eE][-+]?\d{3,})(?![^\s,\]}])", re.ASCII
)

# That is told fast of most texts.
_HINT = re.compile(r"\d[\d.]{15}|\d[eE][-+]?\d{3}", re.ASCII)


def unsafe_numbers(text: str) -> set[str]:
    """The decimals without sign in a JSON text that a double may change; those within its strings too."""
    if not _HINT.search(text):
        return set()
    return {number for number in _UNSAFE.findall(text) if not number.isdecimal()}


def has_changed_number(text: str) -> bool:
    """Tell whether a number of a JSON text, or one within its strings, is not kept as it is written."""
    if not _HINT.search(text):
        return False
    return any(
        len(number) >= INTEGER_DIGITS_MAX if number.isdecimal() else change_of(number)
        for number in set(_UNSAFE.findall(text))
    )


def change_of(number: str) -> str | None:
    """What is wrong with a number without a sign that its double changes, as a clause; None if it is kept."""
    if len(number) <= PLAIN_CHARACTERS_MAX and "e" not in number and "E" not in number:
        # Most such numbers are as Python or printf write them, which is told faster than with decimals.
        double = float(number)
        if repr(double) == number or f"{double:.{len(number.partition('.')[2])}f}" == number:
            return None
    value = _decimal(number)
    if value is None:
        return TOO_SMALL if "-" in number else TOO_LARGE
    if value and not _UNDERFLOW_EXPONENT < value.adjusted() < _OVERFLOW_EXPONENT:
        return TOO_SMALL if value < 1 else TOO_LARGE
    return None if _is_safe(number, value) else _change_of(number, value)


def _change_of(number: str, value: Decimal) -> str | None:
    if value >= _OVERFLOW:
        return TOO_LARGE
    # float() takes long for numbers near 0.
    double = orjson.loads(number)
    digits = len(number.replace("E", "e").partition("e")[0].replace(".", "").lstrip("0"))
    if _rounding_to(max(digits, 1)).create_decimal_from_float(double) == value or Decimal(repr(double)) == value:
        return None
    return CHANGED if double else TOO_SMALL


def _decimal(number: str) -> Decimal | None:
    """The number as it is written; None if its exponent is beyond all bounds and it is not 0."""
    try:
        return Decimal(number)
    except InvalidOperation:
        return Decimal(0) if re.fullmatch(r"[0.]+[eE].*", number) else None


def _is_safe(number: str, value: Decimal) -> bool:
    """Tell at little cost that a number is kept; False where that has to be calculated."""
    if not value:
        return True
    if len(number) > SAFE_CHARACTERS_MAX:
        return False
    mantissa, _, exponent = number.replace("E", "e").partition("e")
    whole, _, fraction = mantissa.partition(".")
    place = (int(exponent) if exponent else 0) - len(fraction)
    return (
        len(whole) + len(fraction) <= SAFE_DIGITS and place >= SAFE_PLACE_MIN and value.adjusted() <= SAFE_EXPONENT_MAX
    )


@lru_cache(maxsize=64)
def _rounding_to(digits: int) -> Context:
    """Rounds to so many significant digits, as printf does."""
    return Context(prec=digits, rounding=ROUND_HALF_EVEN)
