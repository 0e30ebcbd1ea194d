"""What a user installs: it stands beside packages of theirs called schemas, service and consumers, and has types."""

import asyncio
import os
import sys
import sysconfig
from pathlib import Path

import pytest

from genlock.service.settings import Settings
from tests.support.distributions import MOVED, build_wheel, copy_checkout, run
from tests.support.harness import DEADLINE_S, serving
from tests.support.paths import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "send_and_match.py"

pytestmark = pytest.mark.timeout(180)

# Asks the checker what it sees, and makes one mistake.
USER_SCRIPT = """
from functools import partial
import genlock

def own(doc: genlock.DocumentState | None) -> genlock.DocumentDelete | None:
    return genlock.DocumentDelete(expected_generation=doc.generation) if doc else None

async def use(client: genlock.Client) -> None:
    reveal_type(await client.get("stack", "x"))
    reveal_type(await client.send(genlock.command(genlock.DocumentDelete(expected_generation=1), subject="x")))
    await client.change("document", "x", lambda doc: partial(genlock.DocumentPut, body=doc.body if doc else {}))
    await client.change("document", "x", own)
    await client.change("document", "x", lambda doc: partial(genlock.StackUpdate, template={}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    return build_wheel(copy_checkout(folder / "checkout"), folder / "built")


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A user's folder, with an example and packages whose names Genlock has inside too."""
    for name in MOVED:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    check = "import schemas, service, consumers\nassert schemas.MINE and service.MINE and consumers.MINE\n"
    where = "import genlock.schemas, genlock.service, genlock.consumers\nprint(genlock.__file__)\n"
    (tmp_path / "example.py").write_text(check + where + EXAMPLE.read_text())
    return tmp_path


async def output_of(user: Path, settings: Settings, *python: str, **environment: str) -> str:
    """Run the user's program against a service and return what it prints."""
    environment |= {"GENLOCK_AMQP_URL": settings.amqp_url.get_secret_value(), "GENLOCK_NAMESPACE": settings.namespace}
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    async with serving(settings):
        process = await asyncio.create_subprocess_exec(
            *python, "example.py", cwd=user, env=inherited | environment, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(DEADLINE_S):
            output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


@pytest.mark.usefixtures("client")
async def test_a_checkout_stands_beside_packages_of_the_same_names(user: Path, settings: Settings) -> None:
    output = await output_of(user, settings, sys.executable)
    assert output.splitlines()[0] == str(REPOSITORY / "genlock" / "__init__.py")
    assert "stored as generation=0" in output


@pytest.mark.usefixtures("client")
async def test_a_wheel_stands_beside_packages_of_the_same_names(
    user: Path, wheel: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("target")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", target)
    installed = run(*pip, wheel, cwd=user)
    assert installed.returncode == 0, installed.stderr
    # An interpreter without the virtual environment, so that the checkout is not installed there; what Genlock needs
    # comes from the environment's folder all the same.
    path = os.pathsep.join((str(target), sysconfig.get_path("purelib")))
    output = await output_of(user, settings, sys._base_executable, PYTHONPATH=path)  # type: ignore[attr-defined]
    assert output.splitlines()[0] == str(target / "genlock" / "__init__.py")
    assert "stored as generation=0" in output


def test_a_users_script_sees_the_types(user: Path) -> None:
    (user / "script.py").write_text(USER_SCRIPT)
    checked = run(
        *(sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", user / "cache"),
        "script.py",
        cwd=user,
    )
    assert "StackState | None" in checked.stdout, checked.stdout
    assert "Succeeded | genlock.schemas.outcomes.Conflict | genlock.schemas.outcomes.Rejected" in checked.stdout
    errors = [line for line in checked.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 1, checked.stdout
    assert errors[0].startswith("script.py:13:")
