"""Build steps beyond pyproject.toml: a check for missing folders, and the links of an editable install."""

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FoldersHook(BuildHookInterface[Any]):
    """Handles the folders that the wheel's `sources` move into genlock/."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling passes it
        """Check that each folder exists, because hatchling treats a missing one as empty."""
        for source, package in self.build_config.target_config["sources"].items():
            folder = Path(self.root, source)
            if not (folder / "__init__.py").is_file():
                raise FileNotFoundError(f"The folder {source}/ is missing: build from a whole checkout or an sdist.")
            if version == "editable":
                _link(Path(self.root, package), folder)


def _link(link: Path, folder: Path) -> None:
    """Create the link. An sdist lacks it, and Git writes a small text file on systems without links."""
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
