"""Installing packages: the announcement, the temporary files, and that none of them stays, however it ends.

`apt-get` is a program of the tests' own; the file system below which everything is written is a temporary folder.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genlock.servers import packages
from genlock.servers.packages import NO_CLUSTER, POLICY
from genlock.servers.programs import Programs, ServersUnavailable
from tests.support.paths import REPOSITORY

DEADLINE_S = 30

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform != "linux", reason="Debian's packages are installed on Linux alone"),
]

# Notes what it was asked for, and which of the two files were there meanwhile.
RECORD = (
    'echo "$* policy=$(sh $ROOT/usr/sbin/policy-rc.d; echo $?) cluster=$(cat $ROOT/{cluster} | tail -1)" >> $ROOT/log'
)

# Says that it is at work, and goes on until it is killed.
HANG = "echo $$ > $ROOT/apt; echo started > $ROOT/started; while :; do sleep 1; done"

# Installs as root would on a Debian whose files lie below the folder of the first argument.
INSTALL = """
import os, sys
from pathlib import Path
os.geteuid = lambda: 0
from genlock.servers import packages
try:
    packages.install(["one", "two"], "they are needed", root=Path(sys.argv[1]), patience_s=0.5)
except packages.CannotInstallError as error:
    sys.exit(str(error))
"""


# The program itself, with the same changes, as the last but one command of a script.
SCRIPT = """
{python} -c '
import os, sys
from pathlib import Path
os.geteuid = lambda: 0
from genlock.servers import packages
packages.install.__kwdefaults__["root"] = Path("{root}")
sys.exit(packages.main("they are needed", "one"))
'
echo not reached
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine of the Debian family, as far as installing looks at it."""
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/debian_version").write_text("12.0\n")
    os.mkfifo(tmp_path / "started")
    return tmp_path


def have_apt(root: Path, *lines: str) -> None:
    """Put an apt-get on the machine."""
    script = "\n".join(["#!/bin/sh", RECORD.format(cluster=NO_CLUSTER), *lines])
    (root / "apt-get").write_text(f"{script}\n")
    (root / "apt-get").chmod(0o755)


@contextmanager
def installing(root: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Install in a process of its own, which is killed if it still runs in the end."""
    environment = {"PATH": f"{root}{os.pathsep}{os.environ['PATH']}", "ROOT": str(root), **environment}
    with subprocess.Popen(  # noqa: S603 - this Python and words of this file
        [sys.executable, "-c", INSTALL, str(root)],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def installed(root: Path, **environment: str) -> tuple[int, str]:
    """Install to the end: the exit status and the messages."""
    with installing(root, **environment) as process:
        _, errors = process.communicate(timeout=DEADLINE_S)
        return process.returncode, errors


def written(root: Path) -> set[str]:
    """Which files and folders are there, besides those that were there before and those of the double."""
    names = {str(path.relative_to(root)) for path in root.rglob("*")}
    return names - {"usr", "usr/sbin", "etc", "etc/debian_version", "apt-get", "apt", "log", "started"}


def calls(root: Path) -> list[str]:
    return (root / "log").read_text().splitlines()


def test_packages_are_named_with_their_reason_and_no_server_starts_meanwhile(root: Path) -> None:
    have_apt(root)
    status, said = installed(root)
    assert (status, said.count("\n")) == (0, 1), said
    assert said.startswith("Installing one and two with apt-get: they are needed.")
    guarded = "policy=101 cluster=create_main_cluster = false"
    update, install = calls(root)
    assert " update " in update
    assert " install --yes --no-install-recommends one two " in install
    assert update.endswith(guarded)
    assert install.endswith(guarded)
    assert written(root) == set()


def test_failure_is_told_and_everything_is_taken_back(root: Path) -> None:
    have_apt(root, "echo 'E: no such package' >&2", "exit 100")
    status, said = installed(root)
    assert status == 1
    assert "ended with 100: E: no such package." in said
    assert len(calls(root)) == 1
    assert written(root) == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ignoring", ["", "trap '' INT TERM HUP"])
def test_signal_ends_apt_and_everything_is_taken_back(root: Path, number: signal.Signals, ignoring: str) -> None:
    have_apt(root, ignoring, "echo $$ > $ROOT/pid", HANG)
    with installing(root) as process:
        assert (root / "started").read_text() == "started\n"
        assert str(POLICY) in written(root)
        process.send_signal(number)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == -number
    apt = int((root / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(apt, 0)
    assert written(root) == {"pid"}


def test_script_that_is_ended_ends_the_installation_too(root: Path) -> None:
    """As scripts/venv is by a make that gets SIGTERM."""
    have_apt(root, HANG)
    script = SCRIPT.format(python=sys.executable, root=root)
    path = f"{root}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(["sh", "-c", script], env={**os.environ, "PATH": path, "ROOT": str(root)}) as process:  # noqa: S603, S607
        assert (root / "started").read_text() == "started\n"
        lock = os.open((root / POLICY).parent, os.O_RDONLY)
        process.terminate()
    # The installation has this lock until it ends.
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.close(lock)
    assert written(root) == set()


def test_second_signal_does_not_interrupt_what_the_first_one_undoes(root: Path) -> None:
    have_apt(root, "trap '' INT TERM", HANG)
    with installing(root) as process:
        assert (root / "started").read_text() == "started\n"
        for _ in range(5):
            process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == -signal.SIGINT
    assert written(root) == set()


def test_files_that_were_there_before_stay_as_they_were(root: Path) -> None:
    have_apt(root)
    for path in (root / POLICY, root / NO_CLUSTER):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\nexit 42 # mine\n")
        path.chmod(0o750)
    assert installed(root)[0] == 0
    assert "policy=42" in calls(root)[0]
    for path in (root / POLICY, root / NO_CLUSTER):
        assert path.read_text() == "#!/bin/sh\nexit 42 # mine\n"
        assert path.stat().st_mode & 0o777 == 0o750


def test_link_to_nowhere_is_not_written_through(root: Path) -> None:
    have_apt(root)
    (root / POLICY).symlink_to(root / "elsewhere")
    assert installed(root)[0] == 0
    assert written(root) == {str(POLICY)}


def test_files_that_a_killed_installation_left_are_taken_back_by_the_next_one(root: Path) -> None:
    have_apt(root, HANG)
    with installing(root) as process:
        assert (root / "started").read_text() == "started\n"
        process.kill()
    # Nothing else ends an apt-get whose parent was killed.
    os.kill(int((root / "apt").read_text()), signal.SIGKILL)
    assert {str(POLICY), str(NO_CLUSTER)} <= written(root)
    have_apt(root)
    assert installed(root)[0] == 0
    assert calls(root)[-1].endswith("policy=101 cluster=create_main_cluster = false")
    assert {path for path in written(root) if (root / path).is_file()} == set()


def test_second_installation_waits_for_the_first(root: Path) -> None:
    """If it did not, the first one to end would take back the files that the second one relies on."""
    os.mkfifo(root / "go")
    have_apt(root, 'case "$*" in *update*) echo started > $ROOT/started; read _ < $ROOT/go;; esac')
    with installing(root) as first:
        assert (root / "started").read_text() == "started\n"
        with installing(root) as second:
            assert second.stderr is not None
            assert second.stderr.readline() == "Another run installs packages; waiting for it.\n"
            assert len(calls(root)) == 1
            (root / "go").write_text("on\n")
            assert first.wait(DEADLINE_S) == 0
            assert (root / "started").read_text() == "started\n"
            (root / "go").write_text("on\n")
            assert second.wait(DEADLINE_S) == 0
    assert all(call.endswith("policy=101 cluster=create_main_cluster = false") for call in calls(root))
    assert written(root) - {"go"} == set()


def test_installation_that_waits_for_another_can_be_interrupted(root: Path) -> None:
    have_apt(root, HANG)
    with installing(root) as first:
        assert (root / "started").read_text() == "started\n"
        with installing(root) as second:
            assert second.stderr is not None
            second.stderr.readline()
            second.send_signal(signal.SIGINT)
            second.communicate(timeout=DEADLINE_S)
            assert second.returncode == -signal.SIGINT
        # What the first one relies on is still there.
        assert {str(POLICY), str(NO_CLUSTER)} <= written(root)
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=DEADLINE_S)
    assert written(root) == set()


def test_forbidden_installation_prints_the_command_and_fails(root: Path) -> None:
    have_apt(root)
    status, said = installed(root, GENLOCK_INSTALL="0")
    assert status == 1
    assert said == (
        "GENLOCK_INSTALL=0 forbids installing, but they are needed: "
        "run `apt-get update && apt-get install --yes --no-install-recommends one two`.\n"
    )
    assert not (root / "log").exists()


def test_other_words_in_genlock_install_are_refused(root: Path) -> None:
    have_apt(root)
    assert installed(root, GENLOCK_INSTALL="never") == (1, "GENLOCK_INSTALL is 'never', but may be 0 or 1.\n")
    assert not (root / "log").exists()


def test_user_without_root_rights_is_told_the_command(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("GENLOCK_INSTALL", "1")
    with pytest.raises(packages.CannotInstallError, match=r"`sudo apt-get update && sudo apt-get install .*one`"):
        packages.install(["one"], "it is needed", root=root)
    with pytest.raises(ServersUnavailable, match=r"sudo apt-get install .*postgresql rabbitmq-server"):
        Programs.find(path=str(root), debian=root)


def test_packages_that_another_run_has_installed_meanwhile_are_not_installed_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    have_apt(root)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(root), prepend=os.pathsep)
    monkeypatch.delenv("GENLOCK_INSTALL", raising=False)
    packages.install(["one"], "it is needed", missing=lambda: False, root=root)
    assert not (root / "log").exists()
    assert capsys.readouterr().err == ""


def test_virtual_environment_without_ensurepip_asks_for_its_package(root: Path) -> None:
    """The script runs on a Python that cannot make virtual environments, and with installing forbidden."""
    python = root / "python3"
    python.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (root / "genlock/servers").mkdir(parents=True)
    shutil.copy(REPOSITORY / "genlock/servers/packages.py", root / "genlock/servers")
    done = subprocess.run(  # noqa: S603 - the script of this repository
        [REPOSITORY / "scripts/venv", root / "ready"],
        cwd=root,
        env={"PATH": f"{root}{os.pathsep}{os.environ['PATH']}", "GENLOCK_INSTALL": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert (
        "GENLOCK_INSTALL=0 forbids installing, but python3 cannot make virtual environments without it" in done.stderr
    )
    assert "apt-get install --yes --no-install-recommends python3-venv" in done.stderr
