"""The image: its content, and that it needs no rights and no writable file system."""

import json
import re

import pytest

from tests.containers.system import System

pytestmark = pytest.mark.timeout(600)


def test_it_runs_as_a_numbered_user_without_rights_and_without_anything_to_write_on(
    system: System, replica: str
) -> None:
    status = system.run_in(replica, "cat", "/proc/1/status")
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert set(lines["Uid"].split()) == {"10001"}
    assert set(lines["Gid"].split()) == {"10001"}
    assert {lines[name].strip() for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert lines["NoNewPrivs"] == "1"
    mounts = [line.split() for line in system.run_in(replica, "cat", "/proc/mounts").splitlines()]
    options = {where: how.split(",") for _, where, _, how, *_ in mounts}
    assert "ro" in options["/"]
    assert "rw" in options["/tmp"]  # noqa: S108 - the container's
    # The user that it runs as owns no file in it.
    assert not system.run_in(replica, "find", "/opt/genlock", "-user", "10001")


def test_it_holds_the_service_and_no_tool_to_build_one(system: System, replica: str) -> None:
    names = system.run_in(replica, "ls", "/opt/genlock/bin").split()
    assert "genlock" in names
    assert not [name for name in names if re.match("pip|hatch|uv|cc|gcc", name)]
    packages = system.run_in(replica, "ls", "/opt/genlock/lib/python3.13/site-packages").split()
    assert "genlock" in packages
    assert not {"pip", "hatchling", "pytest", "testcontainers"} & set(packages)
    # The image has nothing else of a checkout: no tests, benchmarks or repository.
    layers = system.docker("image", "history", "--no-trunc", "--format={{.CreatedBy}}", system.image)
    assert "hatchling" not in layers


def test_every_module_comes_compiled(system: System, replica: str) -> None:
    program = (
        "import importlib.util, json, pathlib, sysconfig; "
        "roots = [pathlib.Path('/opt/genlock/lib'), pathlib.Path(sysconfig.get_path('stdlib'), 'urllib')]; "
        "modules = [path for root in roots for path in root.rglob('*.py') if 'genlock' in path.parts]; "
        "missing = [str(m) for m in modules if not pathlib.Path(importlib.util.cache_from_source(str(m))).exists()]; "
        "print(json.dumps([len(modules), missing]))"
    )
    count, missing = json.loads(system.run_in(replica, "python", "-I", "-c", program))
    assert count > 50
    assert not missing


def test_its_labels_ports_and_words_are_those_that_the_documentation_names(system: System) -> None:
    config = json.loads(system.docker("image", "inspect", "--format={{json .Config}}", system.image))
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["genlock"]
    assert config["Cmd"] == ["serve"]
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert not [variable for variable in config["Env"] if variable.startswith("GENLOCK_")]


def test_any_command_of_the_command_line_works_in_it(system: System) -> None:
    hardened = ("--rm", "--read-only", "--cap-drop=ALL", "--network=none")
    rows = json.loads(system.docker("run", *hardened, system.image, "settings", "--json"))
    assert {"GENLOCK_DATABASE_URL", "GENLOCK_AMQP_URL"} <= {row["variable"] for row in rows}
