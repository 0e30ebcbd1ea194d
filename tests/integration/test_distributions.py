"""Wheels and sdists: their contents, and that a service runs from each of them, and from nothing else."""

import asyncio
import shutil
import signal
import tarfile
from asyncio.subprocess import PIPE
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from genlock.servers import Role, Servers, database
from genlock.service.settings import Settings
from tests.support.command_line import ended, environment, lines_until
from tests.support.distributions import (
    BESIDE,
    LIBRARIES,
    MOVED,
    OFFLINE,
    PIP,
    Environment,
    build_sdist,
    build_wheel,
    contents,
    copy_checkout,
    linked_libraries,
    run,
)
from tests.support.factories import envelope, new_id
from tests.support.harness import Client

pytestmark = pytest.mark.timeout(180)

MODULES = ("genlock", *(f"genlock.{name}" for name in MOVED))

LEFTOVERS = (
    *("tests/conftest.py", "bench/__init__.py", "build/lib/genlock/__init__.py", "dist/genlock.py", ".venv/genlock.py"),
    *("service/__pycache__/decide.cpython-311.pyc", "service/deciding/decide.pyc", "genlock/.mypy_cache/genlock.json"),
    *("consumers/build/lib.py", "consumers/.env", "genlock/cli/.vimrc", "schemas/genlock.egg-info/PKG-INFO"),
)
"""Files that tools and people leave in a checkout, and that no distribution contains."""


@dataclass(frozen=True)
class Built:
    """A checkout, its installed files, and the distributions built from it."""

    checkout: Path
    files: frozenset[str]
    wheel: Path
    sdist: Path
    wheel_from_sdist: Path
    libraries: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The distributions of one checkout, and the packages that an environment needs beside them."""
    folder = tmp_path_factory.mktemp("distributions")
    checkout = copy_checkout(folder / "checkout")
    # A path in a link is no file of its own, and rglob does not enter it.
    found = (path for name in ("genlock", *MOVED) for path in (checkout / name).rglob("*") if path.is_file())
    files = frozenset(str(path.relative_to(checkout)) for path in found if not _in_link(checkout, path))
    for name in LEFTOVERS:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("LEFT = True\n")
    sdist = build_sdist(checkout, folder / "sdist")
    return Built(
        checkout,
        files,
        build_wheel(checkout, folder / "wheel"),
        sdist,
        build_wheel(sdist, folder / "wheel_from_sdist"),
        linked_libraries(folder / "libraries"),
    )


def _in_link(checkout: Path, path: Path) -> bool:
    return path.relative_to(checkout).parts[:2] in {("genlock", name) for name in MOVED}


def _installed_as(file: str) -> str:
    return f"genlock/{file}" if file.partition("/")[0] in MOVED else file


def _without_links(checkout: Path) -> None:
    for name in MOVED:
        (checkout / "genlock" / name).unlink()


def _with_stand_ins(checkout: Path) -> None:
    """As Git does where it cannot make links."""
    _without_links(checkout)
    for name in MOVED:
        (checkout / "genlock" / name).write_text(f"../{name}")


def test_a_wheel_holds_the_needed_files_and_nothing_else(built: Built) -> None:
    names = {name for name in contents(built.wheel) if ".dist-info/" not in name}
    assert names == {_installed_as(file) for file in built.files}
    assert {
        "genlock/__main__.py",
        "genlock/py.typed",
        "genlock/demo/commands.jsonl",
        "genlock/consumers/process/serve.py",
        "genlock/schemas/catalogue.py",
        "genlock/service/database/grants.sql",
        "genlock/service/ledger/checks/applied_once.sql",
        "genlock/service/database/migrations/0001_documents_and_stacks.sql",
        "genlock/service/ledger/sql/insert_ledger.sql",
    } <= names


def test_an_sdist_holds_the_sources_of_a_wheel_and_nothing_else(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members)
    names = [member.name.partition("/")[2] for member in members]
    assert sorted(names) == sorted((*built.files, *BESIDE, "PKG-INFO"))


def test_a_wheel_from_the_sdist_has_the_same_bytes(built: Built) -> None:
    assert contents(built.wheel_from_sdist) == contents(built.wheel)


@pytest.mark.parametrize("lose_links", [_without_links, _with_stand_ins])
def test_a_wheel_does_not_depend_on_links(built: Built, tmp_path: Path, lose_links: Callable[[Path], None]) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    lose_links(checkout)
    assert contents(build_wheel(checkout, tmp_path / "wheel")) == contents(built.wheel)


def test_a_wheel_is_not_built_where_a_folder_is_missing(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    shutil.rmtree(checkout / "consumers")
    refused = run(*PIP, "wheel", *OFFLINE, "--wheel-dir", tmp_path / "wheel", checkout, cwd=tmp_path)
    assert refused.returncode != 0
    assert "The folder consumers/ is missing" in refused.stderr
    assert not list(tmp_path.glob("wheel/*"))


@pytest.fixture(scope="module", params=["wheel", "wheel_from_sdist", "sdist"])
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Environment:
    """An environment that has Genlock from a wheel or from the sdist alone."""
    environment = Environment(tmp_path_factory.mktemp("installed") / "environment", built.libraries)
    environment.install(getattr(built, request.param))
    return environment


def test_installation_takes_one_name_and_is_the_code_that_runs(installed: Environment) -> None:
    for file, module in zip(installed.files_of(MODULES), MODULES, strict=True):
        assert file == installed.site_packages.joinpath(*module.split("."), "__init__.py")
    names = {path.name for path in installed.site_packages.iterdir()}
    assert names == {"genlock", "genlock-0.1.0.dist-info", LIBRARIES}
    assert "Usage: genlock" in installed.output_of("genlock", "--help")
    assert installed.output_of("genlock", "--version") == "genlock 0.1.0\n"
    assert installed.output_of("python", "-m", "genlock", "--version") == "genlock 0.1.0\n"


async def test_a_service_runs_from_an_installation(
    installed: Environment, servers: Servers, service_role: Role, client: Client, settings: Settings
) -> None:
    async with database(servers.database_url) as owner_url:
        migrating = await _started(installed, settings, "migrate", owner_url, GENLOCK_SERVICE_ROLE=service_role.name)
        code, _ = await ended(migrating)
        assert code == 0
        serving = await _started(installed, settings, "serve", service_role.at(owner_url), GENLOCK_HTTP_PORT="0")
        try:
            await lines_until(serving, "ready")
            [outcome] = await client.ask(envelope("document.put", new_id(), {"expected_generation": None, "body": {}}))
            serving.send_signal(signal.SIGTERM)
            code, _ = await ended(serving)
        finally:
            if serving.returncode is None:
                serving.kill()
                await serving.communicate()
    assert outcome["type"] == "document.put.succeeded"
    assert code == 0


async def _started(
    installed: Environment, settings: Settings, command: str, database_url: str, **variables: str
) -> asyncio.subprocess.Process:
    """Start an installed command, in an empty folder and without a Python path."""
    variables |= environment(settings.model_copy(update={"database_url": SecretStr(database_url)}))
    variables.pop("PYTHONPATH", None)
    program = installed.programs / "genlock"
    return await asyncio.create_subprocess_exec(program, command, cwd=installed.empty, env=variables, stderr=PIPE)


@pytest.mark.parametrize("lose_links", [_without_links, _with_stand_ins])
def test_an_editable_install_makes_the_links_that_are_missing(
    built: Built, tmp_path: Path, lose_links: Callable[[Path], None]
) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    lose_links(checkout)
    installed = Environment(tmp_path / "environment", built.libraries)
    installed.install("--editable", checkout)
    for file, name in zip(installed.files_of(MODULES), ("genlock", *MOVED), strict=True):
        assert file.resolve() == checkout / name / "__init__.py"
    assert installed.output_of("genlock", "--version") == "genlock 0.1.0\n"


def test_an_editable_install_leaves_alone_files_in_the_place_of_a_link(built: Built, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    _without_links(checkout)
    (checkout / "genlock" / "service").write_text("Mine.")
    refused = Environment(tmp_path / "environment", built.libraries).pip_install("--editable", checkout)
    assert refused.returncode != 0
    assert "genlock/service must be a link to ../service" in refused.stderr
    assert (checkout / "genlock" / "service").read_text() == "Mine."
