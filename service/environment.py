"""Detection of unknown GENLOCK_ variables: pydantic would ignore a misspelt setting silently."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

from genlock.service.settings import Settings

PREFIX = "GENLOCK_"

SETTINGS = frozenset(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)

OTHERS = frozenset(
    f"{PREFIX}{name}"
    for name in (
        # of genlock.servers
        *("SERVERS", "INSTALL"),
        # of compose.yaml
        *("IMAGE", "AMQP_PORT", "OWNER_PASSWORD", "SERVICE_PASSWORD", "DEMO_PASSWORD", "GUEST_PASSWORD"),
        # of the tests
        "TEST_PROVIDERS",
    )
)
"""Variables that other programs read (tests/unit/test_unknown_settings.py)."""

_SERVICE_LINK = re.compile(
    r"GENLOCK(?:_\w+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
"""Variables that Kubernetes sets in the pods of a namespace for a Service whose name starts with genlock."""

_PORT_LINK = re.compile("(?:tcp|udp|sctp)://.*")


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A sentence on each variable with the settings' prefix that is no setting. It contains no values."""
    return [
        f"{name.encode('unicode_escape').decode()} is not a setting; {_hint(name.upper())}"
        for name, value in sorted(environment.items())
        if name.upper().startswith(PREFIX) and not _is_known(name.upper(), value)
    ]


def _is_known(name: str, value: str) -> bool:
    linked = _SERVICE_LINK.fullmatch(name) or (name.endswith("_PORT") and _PORT_LINK.fullmatch(value))
    return name in SETTINGS or name in OTHERS or bool(linked)


def _hint(name: str) -> str:
    near = get_close_matches(
        name.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in SETTINGS | OTHERS], n=1
    )
    return f"did you mean {PREFIX}{near[0]}?" if near else "genlock settings shows all that there are."
