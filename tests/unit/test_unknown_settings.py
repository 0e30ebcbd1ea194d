"""Variables that look like settings and are none."""

import re
import subprocess
from pathlib import Path

import pytest

from genlock.service.environment import OTHERS, SETTINGS, unknown_variables
from genlock.service.settings import Settings
from tests.support.paths import REPOSITORY

MISSPELT = {"GENLOCK_PREFECH"}
"""On purpose, by the documentation and by tests."""


def test_unknown_variable_is_told_with_the_nearest_name_and_without_its_value() -> None:
    environment = {"GENLOCK_PREFECH": "secret", "GENLOCK_WHATEVER_ELSE": "secret", "genlock_lane": "2", "GENLOCK_ä": ""}
    assert unknown_variables(environment) == [
        "GENLOCK_PREFECH is not a setting; did you mean GENLOCK_PREFETCH?",
        "GENLOCK_WHATEVER_ELSE is not a setting; genlock settings shows all that there are.",
        "GENLOCK_\\xe4 is not a setting; genlock settings shows all that there are.",
        "genlock_lane is not a setting; did you mean GENLOCK_LANES?",
    ]


def test_every_setting_is_known_in_any_case() -> None:
    names = [f"genlock_{name}" for name in Settings.model_fields]
    assert unknown_variables(dict.fromkeys([*names, *map(str.upper, names), *OTHERS, "GENLOCKX", "PATH"], "x")) == []


LINKS = {
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "8080",
    "SERVICE_PORT_HTTP": "8080",
    "PORT": "tcp://10.0.0.1:8080",
    "PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "PORT_8080_TCP_PROTO": "tcp",
    "PORT_8080_TCP_PORT": "8080",
    "PORT_8080_TCP_ADDR": "10.0.0.1",
}
"""The ends of the variables that Kubernetes sets for a Service, after its name."""


@pytest.mark.parametrize("service", ["GENLOCK", "GENLOCK_METRICS", "GENLOCK_2_B"])
def test_links_of_kubernetes_are_no_settings(service: str) -> None:
    assert unknown_variables({f"{service}_{name}": value for name, value in LINKS.items()}) == []


def test_misspelt_port_is_no_link() -> None:
    assert unknown_variables({"GENLOCK_HTP_PORT": "8080"}) == [
        "GENLOCK_HTP_PORT is not a setting; did you mean GENLOCK_HTTP_PORT?"
    ]


def test_every_name_in_the_tree_is_known_and_every_other_one_is_in_it() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True)  # noqa: S607 - git is on the path
    files = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    texts = [file.read_bytes().decode(errors="ignore") for file in files if file.is_file() and file != Path(__file__)]
    found = {name for text in texts for name in re.findall(r"\bGENLOCK_[A-Z0-9_]*[A-Z0-9]\b", text)}
    assert found - SETTINGS - OTHERS <= MISSPELT
    assert OTHERS - found <= {"GENLOCK_INSTALL"}


def test_name_of_a_variable_brings_no_control_character_to_a_terminal() -> None:
    (warning,) = unknown_variables({"GENLOCK_\x1b[31m\x9b": "1"})
    assert warning.startswith(r"GENLOCK_\x1b[31m\x9b is not a setting")
