"""The standard names of resource classes and traits, and what a person is told about a name that is none."""

import re

import pytest

from genlock.schemas.standards import Vocabulary, complaint, standard, unknown

VOCABULARIES: list[Vocabulary] = ["resource class", "trait"]


@pytest.mark.parametrize(
    ("vocabulary", "names"),
    [
        ("resource class", {"VCPU", "PCPU", "MEMORY_MB", "DISK_GB", "VGPU", "PCI_DEVICE", "NUMA_SOCKET"}),
        ("trait", {"HW_CPU_X86_AVX2", "HW_NIC_SRIOV", "STORAGE_DISK_SSD", "COMPUTE_STATUS_DISABLED"}),
    ],
)
def test_names_of_openstack_are_standard(vocabulary: Vocabulary, names: set[str]) -> None:
    assert names <= standard(vocabulary)
    assert unknown(vocabulary, names) == []


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_every_standard_name_can_be_sent(vocabulary: Vocabulary) -> None:
    for name in standard(vocabulary):
        assert re.fullmatch(r"[A-Z0-9_]{1,255}", name)
        assert not name.startswith("CUSTOM_")


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_custom_names_are_free_and_all_others_unknown(vocabulary: Vocabulary) -> None:
    names = ["CUSTOM_A", "CUSTOM_0", "CUSTOM__", "B_CUSTOM_A", "CUSTOM", "CUSTOM_", "CUSTOMA", "A"]
    assert unknown(vocabulary, names) == ["A", "B_CUSTOM_A", "CUSTOM", "CUSTOMA", "CUSTOM_"]


def test_vocabularies_are_apart() -> None:
    assert unknown("trait", {"VCPU"}) == ["VCPU"]
    assert unknown("resource class", {"HW_CPU_X86_AVX2"}) == ["HW_CPU_X86_AVX2"]


def test_complaint_names_the_nearest_standard_names() -> None:
    assert complaint("resource class", ["MEMORY"]).startswith(
        "Not a standard resource class, and without the prefix CUSTOM_: MEMORY (did you mean MEMORY_MB"
    )
    assert "did you mean HW_CPU_X86_AVX2" in complaint("trait", ["HW_CPU_X86_AVX_2"])


def test_complaint_suggests_nothing_where_nothing_is_near() -> None:
    assert complaint("trait", ["QQQQ", "ZZZZ"]) == "Not a standard trait, and without the prefix CUSTOM_: QQQQ, ZZZZ."


def test_complaint_about_very_many_names_is_short_and_takes_no_minutes() -> None:
    """A command of 1 MiB has room for a hundred thousand names; they must not keep the service busy."""
    names = [f"HW_CPU_X86_AVX_{number}" for number in range(100_000)]
    message = complaint("trait", names)
    assert len(message) < 2_000
    assert "and 99990 more" in message


def test_complaint_about_very_long_names_is_short() -> None:
    names = [f"{number}{'X' * 250}" for number in range(10)]
    assert len(complaint("resource class", names)) < 4_000
