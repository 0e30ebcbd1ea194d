"""The page of metrics."""

from genlock.consumers.health.instruments import INSTRUMENTS, Instrument
from scripts.reference.markdown import code, paragraphs, table

SUFFIXES = {"counter": "_total", "gauge": "", "histogram": ""}

INTRODUCTION = """
The service tells these metrics to Prometheus at `/metrics`, on `GENLOCK_HTTP_PORT`. `deploy/prometheus/rules.yaml` has
[alerts](../production.md#7-metrics-alerts-and-logs), `deploy/grafana/genlock.json` a dashboard. A histogram has
the suffixes `_bucket`, `_sum` and `_count`.
"""


def page() -> str:
    return "\n\n".join(
        [
            "# Metrics",
            paragraphs(INTRODUCTION),
            table(["metric", "type", "labels", "means"], map(_row, INSTRUMENTS)),
        ]
    )


def _row(instrument: Instrument) -> list[str]:
    labels = "; ".join(f"{code(name)}: {means}" for name, means in instrument.labels.items())
    name = instrument.name + SUFFIXES[instrument.kind]
    return [code(name), instrument.kind, labels, f"{instrument.means} {instrument.note}".strip()]
