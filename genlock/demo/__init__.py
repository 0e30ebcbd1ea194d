"""The demo: real servers and the service are started, a file of commands is played, and what it claims is checked.

The commands stand in commands.jsonl, a CloudEvents object on each line, with the extension attribute `scene`. What
a scene claims is code, and is checked against the events that came and against the database.
"""

from importlib import resources

from rich.console import Console
from rich.table import Table

from genlock import servers
from genlock.commands import read_lines
from genlock.demo.scenes import SCENES, Claim
from genlock.demo.stage import staged

WIDTH = 150
"""Columns of the table where the output is no terminal."""


def main() -> int:
    """Play all scenes and print what they claim; return the exit code, 0 if all is as claimed."""
    with servers.running() as running:
        return servers.run_to_end(_play(running))


async def _play(running: servers.Servers) -> int:
    lines = read_lines(resources.files(__name__).joinpath("commands.jsonl").read_text().split("\n"))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    table = Table("scene", "commands", "claim", "found", "holds", title="Genlock", expand=True)
    failed = 0
    async with staged(running) as stage:
        for name, scene in SCENES.items():
            own = [line for line in lines if line.get("scene") == name]
            claims = await scene(stage, own)
            failed += sum(not claim.holds for claim in claims)
            _add(table, scene.__doc__ or name, len(own), claims)
    console.print(table)
    console.print(f"{failed} claims do not hold." if failed else "Everything is as claimed.")
    return 1 if failed else 0


def _add(table: Table, title: str, commands: int, claims: list[Claim]) -> None:
    for number, claim in enumerate(claims):
        head = (title, str(commands)) if number == 0 else ("", "")
        holds = "[green]yes[/]" if claim.holds else "[bold red]NO[/]"
        table.add_row(*head, claim.text, claim.found, holds, end_section=number == len(claims) - 1)
