"""All pages, as files in a folder."""

from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.reference import codes, commands, logs, metrics, outcomes, queries, settings
from scripts.reference.markdown import first_sentence

FOLDER = Path(__file__).parents[2] / "docs" / "reference"

NOTE = "<!-- Made by `make reference` from the code: change the code instead. -->"

PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands.page,
    "outcomes.md": outcomes.page,
    "codes.md": codes.page,
    "queries.md": queries.page,
    "settings.md": settings.page,
    "metrics.md": metrics.page,
    "logs.md": logs.page,
}


def made() -> dict[str, str]:
    """Every file of the folder, by name: the pages, and the list of them."""
    pages = {name: page() for name, page in PAGES.items()}
    listed = "\n".join(f"- [{_title(text)}]({name}): {_about(text)}" for name, text in pages.items())
    pages["README.md"] = f"# Reference\n\nThese pages are made from the code: `make reference`.\n\n{listed}"
    return {name: f"{NOTE}\n\n{text}\n" for name, text in pages.items()}


def write(folder: Path, pages: Mapping[str, str]) -> None:
    """Write the pages, and remove all other files."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if file.name not in pages:
            file.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


def stale(folder: Path, pages: Mapping[str, str]) -> list[str]:
    """The names of files that differ from the pages: changed, missing or superfluous ones."""
    there = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
    return sorted(name for name in pages.keys() | there.keys() if pages.get(name) != there.get(name))


def _title(text: str) -> str:
    return text.split("\n", 1)[0].removeprefix("# ")


def _about(text: str) -> str:
    return first_sentence(text.split("\n\n")[1])
