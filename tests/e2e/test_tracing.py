"""One trace from the publisher's span to the statements in the database, and to the outcome."""

import asyncio
import json
import os
import sys
from typing import Any

from tests.support.harness import Client


async def test_one_trace_goes_through_publisher_service_and_database(
    database_url: str, amqp_url: str, client: Client
) -> None:
    traced = await _traced(database_url, amqp_url, client.topology.namespace)
    spans = {span["name"]: span for span in traced["spans"]}
    publish, decide, batch = spans["publish"], spans["decide document.put"], spans["decide batch"]

    assert decide["parent"] == publish["span"]
    assert batch["parent"] == decide["span"]
    statements = [span for span in traced["spans"] if span["parent"] == batch["span"]]
    assert any("ledger" in span["attributes"].get("db.statement", "") for span in statements)
    assert {span["trace"] for span in [publish, decide, batch, *statements]} == {publish["trace"]}
    assert decide["attributes"]["genlock.verdict"] == "succeeded"
    assert traced["traceparent"].split("-")[1:3] == [decide["trace"], decide["span"]]
    assert traced["tracestate"] == "vendor=of-the-caller"


async def _traced(database_url: str, amqp_url: str, namespace: str) -> Any:
    variables = {
        "GENLOCK_DATABASE_URL": database_url,
        "GENLOCK_AMQP_URL": amqp_url,
        "GENLOCK_NAMESPACE": namespace,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.e2e.programs.traced_command",
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | variables,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(output)
