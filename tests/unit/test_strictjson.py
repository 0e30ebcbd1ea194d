"""JSON is read fast where it is clean, and as strictly as ever: numbers are judged as they are written."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genlock.schemas import strictjson
from genlock.schemas.strictjson import parse

numbers = st.one_of(
    st.integers().map(str),
    st.integers(2**63 - 2, 2**63 + 1).map(str),
    st.integers(-(2**63) - 1, -(2**63) + 2).map(str),
    st.integers(2**64 - 1, 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][-+]?[0-9]{1,4})?", fullmatch=True),
    st.sampled_from(["NaN", "Infinity", "-Infinity"]),
)
texts = st.one_of(
    st.recursive(
        st.one_of(
            numbers, st.text().map(json.dumps), st.sampled_from(["true", "false", "null", '"\\ud800"', '"\\u0000"'])
        ),
        lambda parts: st.one_of(
            st.lists(parts, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
            # Each name once: nobody misses what another member of the same name has replaced.
            st.dictionaries(st.sampled_from("abc"), parts, max_size=3).map(
                lambda members: f"{{{','.join(f'{json.dumps(name)}: {value}' for name, value in members.items())}}}"
            ),
        ),
        max_leaves=12,
    ),
    st.text('[]{}",:0123456789.eE+-truefalsnl \\u\n', max_size=12),
)


@given(texts)
@example("[" * 65 + "]" * 65)
@example("[" * 64 + "]" * 64)
@example("[9223372036854775807, -9223372036854775808, 9223372036854775808, -9223372036854775809]")
def test_a_fast_parse_says_what_the_strict_one_says(text: str) -> None:
    try:
        strict = strictjson._parse_with_hooks(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            parse(text)
    else:
        # repr, because 1 equals 1.0 and -0.0 equals 0.
        assert repr(parse(text)) == repr(strict)
