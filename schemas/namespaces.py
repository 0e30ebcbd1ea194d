"""Namespaces: the prefixes of the names of a service's exchanges and queues."""

from typing import Annotated

from pydantic import AfterValidator, Field

NAMESPACE_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"

RESERVED = "amq"
"""RabbitMQ refuses to declare names that start with this prefix and a dot."""


def _is_free(namespace: str) -> str:
    if namespace == RESERVED:
        raise ValueError(f"RabbitMQ reserves {RESERVED}, so choose another name")
    return namespace


Namespace = Annotated[str, Field(pattern=NAMESPACE_PATTERN), AfterValidator(_is_free)]
