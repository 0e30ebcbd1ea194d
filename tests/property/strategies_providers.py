"""The data of commands on few providers, mostly with the generation that they have, and with parents among them."""

import uuid

from hypothesis import strategies as st

from tests.property.model import Json, Model

PROVIDERS = tuple(str(uuid.UUID(int=number, version=4)) for number in range(101, 106))
AGGREGATES = tuple(str(uuid.UUID(int=number, version=4)) for number in (201, 202))
NOBODY = str(uuid.UUID(int=9000, version=4))
PROVIDER_NAMES = ("red", "grey", "gold", "pink", "cyan", "lime")

_MAYBE = st.booleans()
_CLASSES = st.sampled_from(("VCPU", "DISK_GB", "CUSTOM_A", "VCPU", "VCPU", "VCPUS"))
_TRAITS = st.lists(st.sampled_from(("HW_NIC_SRIOV", "STORAGE_DISK_SSD", "CUSTOM_A", "CUSTOM_B", "SSD")), max_size=2)
_INVENTORIES = st.sampled_from(
    (
        {"total": 1},
        {"total": 8, "reserved": 8, "allocation_ratio": 0.1},
        {"total": 8, "min_unit": 2, "max_unit": 4, "step_size": 2, "allocation_ratio": 16},
        {"total": 8, "reserved": 9},
    )
)


def provider_data(draw: st.DrawFn, model: Model, subject: str, verb: str) -> Json:
    """The data of `provider.<verb>` on this provider."""
    data: Json = {}
    if verb != "create":
        data["expected_generation"] = _generation(draw, model, subject)
    if verb in ("create", "update"):
        data |= _place(draw, model, subject, verb)
    elif verb == "set_inventories":
        data["inventories"] = draw(st.dictionaries(_CLASSES, _INVENTORIES, max_size=2))
    elif verb in ("put_inventory", "delete_inventory"):
        provider = model.providers.get(subject)
        there = sorted(provider.inventories) if provider else []
        data["resource_class"] = draw(st.sampled_from(there) if there else _CLASSES)
        if draw(_MAYBE):
            data["resource_class"] = draw(_CLASSES)
    if verb == "put_inventory":
        data["inventory"] = draw(_INVENTORIES)
    elif verb == "set_traits":
        data["traits"] = draw(_TRAITS)
    elif verb == "set_aggregates":
        data["aggregates"] = draw(st.lists(st.sampled_from(AGGREGATES), max_size=2))
    return data


def _place(draw: st.DrawFn, model: Model, subject: str, verb: str) -> Json:
    """A name, a parent or both."""
    place: Json = {}
    # As a rule it is a name of its own, or hardly any would be free.
    own = PROVIDER_NAMES[PROVIDERS.index(subject)]
    if verb == "create" or draw(_MAYBE):
        place["name"] = draw(st.sampled_from((own, own, own, *PROVIDER_NAMES)))
    if not place or draw(_MAYBE):
        live = [other for other in PROVIDERS if model.show(other)]
        place["parent_id"] = draw(st.sampled_from((None, *live, *live, *live, *PROVIDERS, NOBODY)))
    return place


def _generation(draw: st.DrawFn, model: Model, subject: str) -> int:
    provider = model.providers.get(subject)
    actual = provider.generation if provider else 0
    return max(0, actual + draw(st.sampled_from((0, 0, 0, 0, 0, 0, -1, -2, 1))))
