"""The filters of provider.list: which terms there are, their meaning, and which texts are no terms."""

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import ValidationError

from genlock.schemas.filters import TERMS_MAX, Terms
from genlock.schemas.queries import ProjectUsages, ProviderList
from tests.support.factories import OTHER_ID, SOME_ID, Json

ONE, TWO = SOME_ID, OTHER_ID
SCHEMA = Draft202012Validator(ProviderList.model_json_schema())


def refused(filters: Json) -> list[tuple[str, str]]:
    """Where the filters are wrong, and why."""
    with pytest.raises(ValidationError) as raised:
        ProviderList.model_validate(filters)
    return [(".".join(map(str, error["loc"])), error["msg"]) for error in raised.value.errors()]


@pytest.mark.parametrize(
    ("terms", "meaning"),
    [
        ([], Terms((), (), ())),
        (["A"], Terms(("A",), (), ())),
        (["A", "B"], Terms(("A", "B"), (), ())),
        (["!A", "B", "!C"], Terms(("B",), (), ("A", "C"))),
        (["in:A"], Terms(("A",), (), ())),
        (["in:A,B", "C"], Terms(("C",), (("A", "B"),), ())),
        (["in:A,B", "in:C,D,E"], Terms((), (("A", "B"), ("C", "D", "E")), ())),
        (["!in:A,B", "!C"], Terms((), (), ("A", "B", "C"))),
    ],
)
def test_terms_mean_all_any_and_none(terms: list[str], meaning: Terms) -> None:
    assert Terms.parse(terms) == meaning
    assert Terms.parse(terms).names == {
        word.strip("!").removeprefix("in:") for term in terms for word in term.split(",")
    }


@pytest.mark.parametrize(
    ("member_of", "meaning"),
    [
        (ONE, Terms((ONE,), (), ())),
        (ONE.upper(), Terms((ONE,), (), ())),
        (f"in:{ONE},{TWO.upper()}", Terms((), ((ONE, TWO),), ())),
        (f"!{ONE}", Terms((), (), (ONE,))),
        (f"!in:{ONE},{TWO}", Terms((), (), (ONE, TWO))),
        ([ONE, f"!{TWO}"], Terms((ONE,), (), (TWO,))),
        ([], Terms((), (), ())),
        (None, Terms((), (), ())),
    ],
)
def test_aggregates_come_as_a_term_or_as_a_list_of_terms(member_of: object, meaning: Terms) -> None:
    filters = {"member_of": member_of}
    SCHEMA.validate(filters)
    assert ProviderList.model_validate(filters).aggregates == meaning


@pytest.mark.parametrize(
    "member_of",
    [
        "",
        "zone",
        "in:",
        "!",
        f"{ONE},{TWO}",
        f"in:{ONE},",
        f"in:{ONE};{TWO}",
        f"in:!{ONE}",
        f"!!{ONE}",
        f"IN:{ONE}",
        f" {ONE}",
        f"in:{ONE}, {TWO}",
    ],
)
def test_malformed_term_of_aggregates_is_refused_in_plain_words(member_of: str) -> None:
    assert not SCHEMA.is_valid({"member_of": member_of})
    [(path, message)] = refused({"member_of": member_of})
    assert path == "member_of.0"
    assert message.endswith("must be UUID, in:UUID,UUID, !UUID or !in:UUID,UUID")


@pytest.mark.parametrize(
    "term", ["", "a", "!", "in:", "!in:A,B", "in:A,!B", "A,B", "in:A,", "!!A", "A" * 256, "Ä", "A B"]
)
def test_malformed_term_of_traits_is_refused_in_plain_words(term: str) -> None:
    assert not SCHEMA.is_valid({"required": [term]})
    [(path, message)] = refused({"required": ["CUSTOM_A", term]})
    assert path == "required.1"
    assert message.endswith("must be TRAIT, in:TRAIT,TRAIT or !TRAIT")


@pytest.mark.parametrize("name", ProviderList.model_fields)
def test_null_filter_is_as_good_as_none(name: str) -> None:
    SCHEMA.validate({name: None})
    assert ProviderList.model_validate({name: None}) == ProviderList()


def test_terms_end_where_they_end() -> None:
    assert refused({"required": ["CUSTOM_A\n"]})
    assert refused({"member_of": f"{ONE}\n"})


@pytest.mark.parametrize(
    "filters",
    [
        {"required": "CUSTOM_A"},
        {"member_of": 5},
        {"member_of": [5]},
        {"required": ["CUSTOM_A"] * (TERMS_MAX + 1)},
        {"member_of": [ONE] * (TERMS_MAX + 1)},
        {"resources": {"VCPU": 0}},
        {"resources": {"VCPU": 1.5}},
        {"resources": {"VCPU": "1"}},
        {"resources": {"VCPU": 2**31}},
        {"resources": {"vcpu": 1}},
        {"resources": {f"CUSTOM_{number}": 1 for number in range(TERMS_MAX + 1)}},
        {"resources": "VCPU:1"},
    ],
)
def test_unknown_or_malformed_filter_is_refused(filters: Json) -> None:
    assert refused(filters)


def test_nothing_is_filtered_by_default() -> None:
    filters = ProviderList()
    assert (filters.aggregates, filters.traits, filters.resources) == (Terms((), (), ()), Terms((), (), ()), {})


@pytest.mark.parametrize(
    ("consumer_type", "valid"), [("INSTANCE", True), ("unknown", True), ("all", True), ("any", False)]
)
def test_usages_know_two_words_besides_types(consumer_type: str, *, valid: bool) -> None:
    assert Draft202012Validator(ProjectUsages.model_json_schema()).is_valid({"consumer_type": consumer_type}) is valid
    if valid:
        assert ProjectUsages.model_validate({"consumer_type": consumer_type}).consumer_type == consumer_type
    else:
        with pytest.raises(ValidationError):
            ProjectUsages.model_validate({"consumer_type": consumer_type})
