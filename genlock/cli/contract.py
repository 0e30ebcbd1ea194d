"""`genlock asyncapi`: the wire contract, for other tools and other languages."""

import json

from genlock.cli.failure import load_settings
from genlock.cli.messages import Namespace
from genlock.cli.terminal import say_json
from genlock.schemas.asyncapi import document


def asyncapi(*, namespace: Namespace = None) -> None:
    """Print the contract as an AsyncAPI 3 document, in JSON.

    With it and any AMQP library a program can publish commands and read their outcomes.

    [bold]Example[/bold]

      genlock asyncapi --namespace staging > genlock.json
    """
    settings = load_settings(namespace=namespace)
    say_json(json.dumps(document(settings.namespace), indent=2, ensure_ascii=False))
