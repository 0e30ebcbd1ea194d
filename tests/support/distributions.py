"""Builds and installations of Genlock: copies of the checkout, wheels, sdists, and environments to put them into."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path

from tests.support.paths import REPOSITORY

MOVED = ("schemas", "service", "consumers")
"""The folders at the top of the repository that are imported as packages in genlock."""

BESIDE = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore")

LIBRARIES = "libraries.pth"
"""What an environment of the tests has instead of libraries of its own."""

PIP = (sys.executable, "-m", "pip")
OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program as a user would: with no Python path that leads to the checkout."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env=inherited, capture_output=True, text=True, check=False)  # noqa: S603 - our own words


def copy_checkout(folder: Path) -> Path:
    """Copy the sources of a build into a new folder, so that no build leaves files in the checkout."""
    folder.mkdir()
    for name in ("genlock", *MOVED):
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(REPOSITORY / name, folder / name, symlinks=True, ignore=ignored)
    for name in BESIDE:
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of a checkout or of an sdist."""
    built = run(*PIP, "wheel", *OFFLINE, "--wheel-dir", folder, source, cwd=folder.parent)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def build_sdist(checkout: Path, folder: Path) -> Path:
    """Build the sdist of a checkout."""
    built = run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", folder, cwd=checkout)
    assert built.returncode == 0, built.stderr
    (sdist,) = folder.glob("*.tar.gz")
    return sdist


def contents(wheel: Path) -> dict[str, bytes]:
    """Every file in a wheel; each is there once."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names))
        return {name: archive.read(name) for name in names}


def linked_libraries(folder: Path) -> Path:
    """A folder of links to all that is installed beside these tests, except for Genlock."""
    folder.mkdir()
    for site_packages in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(site_packages).iterdir():
            if path.suffix != ".pth" and not path.name.startswith("genlock"):
                (folder / path.name).symlink_to(path)
    return folder


class Environment:
    """A virtual environment with the libraries, into which distributions of Genlock can be installed."""

    def __init__(self, folder: Path, libraries: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.programs = folder / "bin"
        self.python = self.programs / "python"
        (self.site_packages,) = folder.glob("lib/python*/site-packages")
        (self.site_packages / LIBRARIES).write_text(f"{libraries}\n")
        self.empty = folder / "empty"
        self.empty.mkdir()

    def pip_install(self, *what: str | Path) -> subprocess.CompletedProcess[str]:
        """Try to install something."""
        return run(*PIP, "--python", self.python, "install", *OFFLINE, *what, cwd=self.empty)

    def install(self, *what: str | Path) -> None:
        """Install a wheel, an sdist or a checkout."""
        installed = self.pip_install(*what)
        assert installed.returncode == 0, installed.stderr

    def output_of(self, program: str, *arguments: str) -> str:
        """Run a program of the environment in an empty folder, and return what it prints."""
        ended = run(self.programs / program, *arguments, cwd=self.empty)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def files_of(self, modules: Iterable[str]) -> list[Path]:
        """The files that modules are imported from."""
        printing = "".join(f"import {module}; print({module}.__file__)\n" for module in modules)
        return [Path(line) for line in self.output_of("python", "-c", printing).splitlines()]
