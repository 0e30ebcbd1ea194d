"""The nearest known names: right for slips of the pen, and soon found."""

import time

import pytest

from genlock.schemas.standards import standard
from genlock.schemas.suggestions import KNOWN_MAX, nearest

TRAITS = standard("trait")
CLASSES = standard("resource class")


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("VCPUU", CLASSES, "VCPU"),
        ("vcpu", CLASSES, "VCPU"),
        ("VCUP", CLASSES, "VCPU"),
        ("MEMORY", CLASSES, "MEMORY_MB"),
        ("HW_CPU_X86_AVX_2", TRAITS, "HW_CPU_X86_AVX2"),
        ("hw_cpu_x86_avx2", TRAITS, "HW_CPU_X86_AVX2"),
        ("COMPUTE_STATUS_DISABELD", TRAITS, "COMPUTE_STATUS_DISABLED"),
        ("expected_genration", frozenset({"expected_generation", "body"}), "expected_generation"),
    ],
)
def test_slip_of_the_pen_is_recognised(name: str, known: frozenset[str], meant: str) -> None:
    assert meant in nearest(name, known)
    assert len(nearest(name, known)) <= 3


@pytest.mark.parametrize("name", ["", "Q", "QQQQ", "X" * 256])
def test_nothing_is_near_to_some_names(name: str) -> None:
    assert nearest(name, TRAITS) == ()


def test_nothing_is_looked_up_among_very_many_names() -> None:
    known = frozenset(f"CUSTOM_{number}" for number in range(KNOWN_MAX + 1))
    assert nearest("CUSTOM_1O", known) == ()
    assert nearest("CUSTOM_1O", frozenset(sorted(known)[:KNOWN_MAX]))


def test_names_of_any_length_are_soon_looked_up() -> None:
    """Comparing one with all traits takes 20 ms."""
    names = [f"HW_CPU_X86_AVX_{number}{'_X' * (number % 120)}" for number in range(100)]
    began = time.process_time()
    for name in names:
        nearest(name, TRAITS)
    assert time.process_time() - began < 0.5
