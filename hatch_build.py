"""What pyproject.toml cannot say about a build: a wheel lacks no folder, and an editable install has its links."""

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FoldersHook(BuildHookInterface[Any]):
    """Looks after the folders that the wheel's `sources` move into genlock/."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling passes it
        """Check that each folder is there, for hatchling takes a missing one for an empty one."""
        for source, package in self.build_config.target_config["sources"].items():
            folder = Path(self.root, source)
            if not (folder / "__init__.py").is_file():
                raise FileNotFoundError(f"The folder {source}/ is missing: build from a whole checkout or an sdist.")
            if version == "editable":
                _link(Path(self.root, package), folder)


def _link(link: Path, folder: Path) -> None:
    """Make the link, which an sdist does not have and Git writes as a small text file where it cannot make links."""
    target = os.path.relpath(folder, link.parent)
    if os.path.lexists(link):
        if link.resolve() == folder.resolve():
            return
        if link.is_symlink() or not link.is_file() or link.read_text() != Path(target).as_posix():
            raise FileExistsError(f"{link} must be a link to {target}: move it away and install again.")
        link.unlink()
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError as error:
        raise OSError(f"{link} cannot be made a link to {target}: install without --editable. {error}") from error
