"""The demo starts real servers and the service, sends the commands of a file, and checks claims about the results.

commands.jsonl has a CloudEvents object on each line; the extension attribute `scene` names its scenario. The claims of
a scenario are code, checked against the events and the database.
"""

from importlib import resources

from rich.console import Console
from rich.table import Table

from genlock import servers
from genlock.commands import read_lines
from genlock.demo.deployment import deployed
from genlock.demo.scenarios import SCENARIOS, Claim

WIDTH = 150
"""The width of the table in columns if the output is no terminal."""


def main() -> int:
    """Run all scenarios and print their claims; return the exit code, 0 if all claims hold."""
    with servers.running() as running:
        return servers.run_to_end(_play(running))


async def _play(running: servers.Servers) -> int:
    lines = read_lines(resources.files(__name__).joinpath("commands.jsonl").read_text().split("\n"))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    table = Table("scene", "commands", "claim", "found", "holds", title="Genlock", expand=True)
    failed = 0
    async with deployed(running) as deployment:
        for name, scenario in SCENARIOS.items():
            own = [line for line in lines if line.get("scene") == name]
            claims = await scenario(deployment, own)
            failed += sum(not claim.holds for claim in claims)
            _add(table, scenario.__doc__ or name, len(own), claims)
    console.print(table)
    console.print(f"{failed} claims do not hold." if failed else "Everything is as claimed.")
    return 1 if failed else 0


def _add(table: Table, title: str, commands: int, claims: list[Claim]) -> None:
    for number, claim in enumerate(claims):
        head = (title, str(commands)) if number == 0 else ("", "")
        holds = "[green]yes[/]" if claim.holds else "[bold red]NO[/]"
        table.add_row(*head, claim.text, claim.found, holds, end_section=number == len(claims) - 1)
