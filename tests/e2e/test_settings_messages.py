"""What the command line says of settings before it does anything: unknown ones, and those that cannot be."""

import asyncio
import signal

import pytest

import genlock
from genlock.service.settings import Settings
from tests.support.command_line import ended, lines_until, start
from tests.support.command_line import genlock as run
from tests.support.harness import DEADLINE_S

MARK = "XyZzY"

MISSPELT = {"GENLOCK_PREFECH": MARK}

WARNING = "GENLOCK_PREFECH is not a setting; did you mean GENLOCK_PREFETCH?"

COMMANDS = (
    ("settings",),
    ("settings", "--json"),
    ("verify",),
    ("lanes", "1"),
    ("send", "document.put", "x", "--data", "{}", "--timeout", "0.1"),
    ("get", "document", "x", "--timeout", "0.1"),
    ("query", "provider.list", "--timeout", "0.1"),
    ("tail", "--amqp-url", "amqp://127.0.0.1:1/"),
    ("dead", "list"),
    ("republish", "--since", "1h"),
    ("asyncapi",),
    ("migrate",),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
async def test_every_command_warns_once_of_an_unknown_variable(settings: Settings, arguments: tuple[str, ...]) -> None:
    ran = await run(settings, *arguments, **MISSPELT)
    assert ran.err.count(WARNING) == 1
    assert MARK not in ran.out + ran.err


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_service_warns_once_in_its_log(settings: Settings, workers: str) -> None:
    started = await start(settings, "serve", "--workers", workers, **MISSPELT, GENLOCK_HTTP_PORT="0")
    before = await lines_until(started, "ready")
    started.send_signal(signal.SIGTERM)
    code, after = await ended(started)
    assert code == 0
    (warning,) = [line for line in before + after if line["event"] == WARNING]
    assert (warning["action"], warning["level"]) == ("settings", "warning")
    assert MARK not in str(before + after)


@pytest.mark.parametrize("arguments", [("serve",), ("migrate",), ("verify",), ("dead", "list")], ids=" ".join)
@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            "channel_binding=require&requirepeer=x",
            "channel_binding other than disable or prefer and requirepeer",
        ),
        ("connect_timeout=abc", "its option connect_timeout has to be a whole number of seconds"),
        ("sslmode=require&sslmode=disable", "it says sslmode more than once"),
    ],
)
async def test_option_that_cannot_be_is_refused_before_anything_is_tried(
    settings: Settings, arguments: tuple[str, ...], options: str, why: str
) -> None:
    # No server listens there, and none is asked.
    url = f"postgresql://a:{MARK}@127.0.0.1:1/x?{options}"
    ran = await run(settings, *arguments, GENLOCK_DATABASE_URL=url)
    assert ran.code == 1
    assert ran.err.startswith("genlock: The setting GENLOCK_DATABASE_URL is not valid: ")
    assert ran.err.endswith(f"{why}.\n")
    assert len(ran.err.splitlines()) == 1
    assert MARK not in ran.err


@pytest.mark.parametrize("arguments", [("serve",), ("migrate",), ("verify",), ("dead", "retry", "--all")], ids=" ".join)
async def test_unknown_option_ends_a_start_at_once(settings: Settings, arguments: tuple[str, ...]) -> None:
    url = settings.database_url.get_secret_value()
    async with asyncio.timeout(DEADLINE_S):
        ran = await run(
            settings,
            *arguments,
            GENLOCK_DATABASE_URL=f"{url}{'&' if '?' in url else '?'}conect_timeout=5",
            GENLOCK_START_TIMEOUT_S="600",
            GENLOCK_HTTP_PORT="0",
        )
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert "conect_timeout in GENLOCK_DATABASE_URL is neither an option nor a setting" in ran.err
    assert "(did you mean connect_timeout?)" in ran.err
    assert "?." not in ran.err


async def test_namespace_that_the_broker_reserves_is_refused_at_once(settings: Settings) -> None:
    for arguments in (("serve",), ("lanes", "1"), ("dead", "list"), ("asyncapi",)):
        ran = await run(settings, *arguments, GENLOCK_NAMESPACE="amq")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == (
            "genlock: The setting GENLOCK_NAMESPACE is not valid: RabbitMQ reserves amq, so choose another name.\n"
        )
    ran = await run(settings, "asyncapi", "--namespace", "amq")
    assert ran.code == 2
    assert ran.err.startswith("genlock: The option --namespace (GENLOCK_NAMESPACE) is not valid: RabbitMQ reserves amq")


@pytest.mark.parametrize("namespace", ["amq", "", "a.b", "a" * 65])
async def test_client_refuses_a_namespace_that_no_service_could_have(namespace: str) -> None:
    with pytest.raises(genlock.InvalidMessage, match="may not be amq, which RabbitMQ reserves"):
        async with genlock.connect("amqp://127.0.0.1:1/", namespace=namespace):
            pass


RAW = f"user:{MARK}@{MARK}/{MARK}#{MARK}@127.0.0.1:1"


@pytest.mark.parametrize("option", [True, False], ids=["option", "variable"])
@pytest.mark.parametrize(
    "arguments",
    [("send", "document.put", "x"), ("get", "document", "x"), ("tail",), ("dead", "list"), ("lanes", "1")],
    ids=" ".join,
)
async def test_url_that_is_none_is_refused_without_being_quoted(
    settings: Settings, arguments: tuple[str, ...], *, option: bool
) -> None:
    url = f"amqp://{RAW}/"
    given, variables = (("--amqp-url", url), {}) if option else ((), {"GENLOCK_AMQP_URL": url})
    ran = await run(settings, *arguments, *given, **variables)
    assert ran.code == (2 if option else 1)
    assert "GENLOCK_AMQP_URL" in ran.err
    assert "such as @ as %40" in ran.err
    assert MARK not in ran.out + ran.err


@pytest.mark.parametrize("variable", ["GENLOCK_DATABASE_URL", "GENLOCK_AMQP_URL"])
async def test_url_of_given_servers_is_refused_without_being_quoted(settings: Settings, variable: str) -> None:
    url = f"{'amqp' if 'AMQP' in variable else 'postgresql'}://{RAW}/x"
    for arguments, module in ((("demo",), "genlock.cli"), (("true",), "genlock.servers")):
        process = await start(settings, *arguments, module=module, **{variable: url}, GENLOCK_SERVERS="given")
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate()
        assert process.returncode == 1
        assert f"The setting {variable} is not valid: it has to look like" in err.decode()
        assert MARK not in (out + err).decode()
