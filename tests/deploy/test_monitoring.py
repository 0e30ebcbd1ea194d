"""Alert rules and dashboard: every metric and label that they name is told by a running service."""

import json
import re
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from genlock.consumers.health.http import serving as serving_http
from genlock.service.settings import Settings
from tests.support.factories import Json, envelope, new_id
from tests.support.harness import Client, serving, until
from tests.support.paths import REPOSITORY

RULES = yaml.safe_load((REPOSITORY / "deploy" / "prometheus" / "rules.yaml").read_text())
DASHBOARD = json.loads((REPOSITORY / "deploy" / "grafana" / "genlock.json").read_text())
ROLES = {"genlock_owner", "genlock_service"}
"""Metrics of PostgreSQL that the guide names."""

GUIDE = (REPOSITORY / "docs" / "production.md").read_text()

OF_PROMETHEUS = {"instance", "job"}
"""Labels that every metric has when it has been scraped."""


def alerts() -> list[Any]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    """Everything that is asked of Prometheus, in rules and panels."""
    yield from (rule["expr"] for rule in alerts())
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\bgenlock_[a-z_]+\b", text))


def labels_in(expression: str) -> set[str]:
    """Labels that are matched or grouped by."""
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
    return grouped | set(re.findall(r"(\w+)(?:=~|=)\"", expression))


async def told(client: Client, settings: Settings) -> dict[str, set[str]]:
    """The metrics of a service that has had a bit of everything, each with its labels."""
    subject = new_id()
    creation: Json = {"expected_generation": None, "body": {}}
    async with (
        serving(settings) as service,
        serving_http("127.0.0.1", 0, lambda: [service.status], service.registry) as port,
        aiohttp.ClientSession() as http,
    ):
        await client.ask(envelope("document.put", subject, creation), envelope("document.put", subject, creation))
        await client.publish(b"not JSON", "document.put")

        async def page() -> str:
            async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
                return await answer.text()

        async def everything_is_told() -> bool:
            return {"genlock_dead_letters_total 1.0", "genlock_ready 1.0"} <= set(
                (text := await page()).splitlines()
            ) and (subject in text)

        await until(everything_is_told)
        families = text_string_to_metric_families(await page())
        samples = [sample for family in families for sample in family.samples]
        return {
            name: {label for s in samples if s.name == name for label in s.labels} for name in {s.name for s in samples}
        }


@pytest.fixture
async def metrics(client: Client, settings: Settings) -> dict[str, set[str]]:
    return await told(client, settings)


def test_every_metric_and_label_in_rules_dashboard_and_guide_is_told_by_a_service(metrics: dict[str, set[str]]) -> None:
    for expression in expressions():
        names = metrics_in(expression)
        assert names, expression
        assert names <= metrics.keys()
        assert labels_in(expression) <= OF_PROMETHEUS.union(*(metrics[name] for name in names))
    variables = json.dumps(DASHBOARD["templating"])
    assert metrics_in(variables + GUIDE + str(alerts())) <= metrics.keys() | {"genlock_", *ROLES}


def test_every_alert_says_how_urgent_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert rule["alert"] in GUIDE


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        fields = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & fields
        assert place["x"] + place["w"] <= 24
        taken |= fields
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
