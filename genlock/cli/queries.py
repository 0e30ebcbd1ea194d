"""`genlock query`: any query of the contract, one page or all pages."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Annotated

import typer

from genlock.cli.messages import SOURCE, AmqpUrl, AsJson, Namespace, Timeout, open_client
from genlock.cli.output import console, print_fields, print_rows, wants_json
from genlock.cli.terminal import say_json
from genlock.client import TIMEOUT_S, Client
from genlock.commands import parse_object
from genlock.schemas.base import JsonObject, compact_json


def query(
    query_type: Annotated[str, typer.Argument(metavar="TYPE", help="Such as provider.list.")],
    subject: Annotated[
        str | None,
        typer.Argument(metavar="SUBJECT", help="The id of the record or command, if the query is about one."),
    ] = None,
    *,
    data: Annotated[str, typer.Option("--data", "-d", help="The filters, a JSON object.")] = "{}",
    all_pages: Annotated[
        bool, typer.Option("--all", help="Print the records of all pages; as JSON, one on each line.")
    ] = False,
    timeout_s: Timeout = TIMEOUT_S,
    amqp_url: AmqpUrl = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Ask a query and print its answer; of a list one page, unless --all is given.

    Exits with 1 if the service answers with an error, such as that there is no such record.

    [bold]Examples[/bold]

      genlock query provider.list --data '{"required": ["in:HW_CPU_X86_AVX,HW_CPU_X86_AVX2"], "resources": {"VCPU": 4}}'

      genlock query project.usages my-project

      genlock query record.history server-1 --data '{"kind": "document"}' --all --json
    """
    filters = parse_object(data)
    connecting = open_client(amqp_url, namespace, SOURCE, timeout_s)
    ask = _print_all if all_pages else _print_page
    asyncio.run(ask(connecting, query_type, subject, filters, as_json=wants_json(as_json=as_json)))


async def _print_page(
    connecting: AbstractAsyncContextManager[Client],
    query_type: str,
    subject: str | None,
    filters: JsonObject,
    *,
    as_json: bool,
) -> None:
    async with connecting as client:
        answer = await client.query(query_type, subject, **filters)
    if as_json:
        say_json(compact_json(answer))
        return
    match answer:
        case {"records": list() as records, "next": following, **others}:
            print_rows(records)
            for name, value in others.items():
                console().print(f"{name} {value}")
            if following is not None:
                console().print("There are more: --all prints them.")
        case {"record": dict() as record}:
            print_fields(record)
        case _:
            print_fields(answer)


async def _print_all(
    connecting: AbstractAsyncContextManager[Client],
    query_type: str,
    subject: str | None,
    filters: JsonObject,
    *,
    as_json: bool,
) -> None:
    records = []
    async with connecting as client:
        async for record in client.records(query_type, subject, **filters):
            if as_json:
                say_json(compact_json(record))
            else:
                records.append(record)
    if not as_json:
        print_rows(records)
