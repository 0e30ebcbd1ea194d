"""What PostgreSQL's URLs ask for: options of its own clients, and settings of the server."""

from pathlib import Path

import pytest

from genlock._net.urls import Host, InvalidUrl
from genlock.service.database.libpq import OPTIONS
from genlock.service.database.postgres_urls import KEEP_ALIVE, read

LIBPQ = """
host hostaddr port dbname user password passfile require_auth channel_binding connect_timeout client_encoding options
application_name fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count
tcp_user_timeout replication gssencmode sslmode requiressl sslnegotiation sslcompression sslcert sslkey sslkeylogfile
sslpassword sslcertmode sslrootcert sslcrl sslcrldir sslsni requirepeer ssl_min_protocol_version
ssl_max_protocol_version min_protocol_version max_protocol_version krbsrvname gsslib gssdelegation scram_client_key
scram_server_key service servicefile target_session_attrs load_balance_hosts oauth_issuer oauth_client_id
oauth_client_secret oauth_scope
"""
"""As PostgreSQL 18 documents them."""


def test_every_option_of_postgresqls_own_clients_is_known() -> None:
    assert set(LIBPQ.split()) <= OPTIONS.keys()


def of(query: str, hosts: str = "host") -> str:
    return f"postgresql://{hosts}/db?{query}"


@pytest.mark.parametrize(
    "query",
    [
        "channel_binding=disable",
        "channel_binding=prefer",
        "gssencmode=disable",
        "gssencmode=prefer&gssdelegation=0",
        "client_encoding=UTF8",
        "client_encoding=utf-8",
        "sslcompression=1&sslsni=1&sslcertmode=allow",
        "min_protocol_version=3.0&max_protocol_version=latest",
        "replication=false",
        "load_balance_hosts=disable",
        "channel_binding=&requirepeer=",
    ],
)
def test_option_that_is_harmless_changes_nothing(query: str) -> None:
    assert read(of(query)) == read("postgresql://host/db")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("channel_binding=require", "channel_binding other than disable or prefer"),
        ("gssencmode=require", "gssencmode other than disable or prefer"),
        ("gssdelegation=1", "gssdelegation other than 0"),
        ("require_auth=scram-sha-256", "require_auth"),
        ("requirepeer=postgres", "requirepeer"),
        ("hostaddr=127.0.0.1", "hostaddr"),
        ("client_encoding=LATIN1", "client_encoding other than UTF8"),
        ("replication=database", "replication other than false or off or no or 0"),
        ("min_protocol_version=3.2", "min_protocol_version other than 3.0"),
        ("sslsni=0", "sslsni other than 1"),
        ("sslcertmode=require", "sslcertmode other than allow"),
        ("sslrootcert=system", "sslrootcert=system"),
        ("sslcrldir=/x&sslkeylogfile=/y", "sslcrldir and sslkeylogfile"),
        ("oauth_issuer=a&oauth_client_id=b&oauth_scope=c", "oauth_issuer, oauth_client_id and oauth_scope"),
    ],
)
def test_option_whose_promise_cannot_be_kept_is_refused_by_name(query: str, named: str) -> None:
    with pytest.raises(InvalidUrl) as raised:
        read(of(query))
    assert str(raised.value) == f"it asks for what Genlock cannot do and would have to leave out: {named}"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("connect_timeout=abc", "its option connect_timeout has to be a whole number of seconds"),
        ("connect_timeout=1.5", "its option connect_timeout has to be a whole number of seconds"),
        ("keepalives_idle=abc", "its option keepalives_idle has to be a whole number of seconds"),
        ("tcp_user_timeout=1s", "its option tcp_user_timeout has to be a whole number of milliseconds"),
        ("keepalives=yes", "its option keepalives has to be a whole number"),
        ("sslmode=none", "its option sslmode has to be one of disable, "),
        ("ssl_min_protocol_version=SSLv3", "its option ssl_min_protocol_version has to be one of TLSv1, "),
        ("target_session_attrs=master", "its option target_session_attrs has to be one of any, "),
        ("channel_binding=maybe", "its option channel_binding has to be one of disable, prefer, require"),
        ("connect_timeout=1&connect_timeout=2", "it says connect_timeout more than once"),
        ("search_path=a&search_path=b", "it says search_path more than once"),
        ("ssl=true&sslmode=require", "it says sslmode more than once"),
        ("dbname=other", "it says dbname more than once"),
        ("host=other", "it says host more than once"),
        ("sslnegotiation=direct", "its sslnegotiation=direct needs sslmode=require"),
        ("Connect_Timeout=5", "its option Connect_Timeout has to be written in lower case"),
        ("PASSWORD=x", "its option PASSWORD has to be written in lower case"),
        ("statement_timeout", "its query has to look like"),
        ("a b=1", "it has to look like"),
        ("a!=1", "its query has to look like"),
        ("password=a+b", "a \\+ in its password has to be percent-encoded"),
        ("password=XyZzY&c=d", "the text behind the password in its query is no option"),
        ("port=1,2", "it names 2 ports for 1 hosts"),
        ("port=0", "it has to look like"),
        ("service=nowhere", "the service that it names is in no service file"),
    ],
)
def test_invalid_option_is_described_in_a_sentence(query: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICEFILE", "/dev/null")
    with pytest.raises(InvalidUrl, match=f"^{why}") as raised:
        read(of(query))
    assert "XyZzY" not in str(raised.value)


def test_options_that_mean_something_are_acted_on() -> None:
    target = read(
        of(
            "connect_timeout=5&keepalives_idle=7&keepalives_count=0&tcp_user_timeout=9000&load_balance_hosts=random"
            "&target_session_attrs=primary&passfile=/p&sslmode=require&sslcert=c&sslpassword=s&options=-c%20a.b%3D1",
            hosts="a,b:1",
        )
    )
    assert target.hosts == (Host("a"), Host("b", 1))
    assert target.connect_timeout_s == 5
    assert target.socket_options == {
        "TCP_KEEPIDLE": 7,
        "TCP_KEEPINTVL": KEEP_ALIVE["keepalives_interval"],
        "TCP_USER_TIMEOUT": 9000,
    }
    assert target.at_random
    assert target.keep_alive
    assert target.session_attrs == ("primary",)
    assert target.passfile == "/p"
    assert target.tls_url == "postgresql://?sslmode=require&sslcert=c&sslpassword=s"
    assert target.server_settings == {"options": "-c a.b=1"}
    assert not read(of("keepalives=0")).keep_alive
    assert read(of("connect_timeout=0")).connect_timeout_s is None
    assert read(of("ssl=true")).tls_url == "postgresql://?sslmode=require"
    assert read(of("target_session_attrs=prefer-standby")).session_attrs == ("standby", "any")


def test_all_other_names_are_settings_of_the_server() -> None:
    settings = {"statement_timeout": "5s", "search_path": "a,b", "TimeZone": "UTC", "my_extension.x": "1"}
    query = "&".join(f"{name}={value}" for name, value in settings.items())
    assert read(of(f"{query}&password=x&fallback_application_name=y")).server_settings == settings | {
        "application_name": "y"
    }


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql:///db", (Host(""),)),
        ("postgresql:///db?port=1", (Host("", 1),)),
        ("postgresql:///db?host=/var/run/postgresql&port=1", (Host("/var/run/postgresql", 1),)),
        ("postgresql://%2Fvar%2Frun:1/db", (Host("/var/run", 1),)),
        ("postgresql://a,b/db?port=5", (Host("a", 5), Host("b", 5))),
        ("postgresql:///db?host=a,::1&port=1,2", (Host("a", 1), Host("::1", 2))),
        ("postgresql://[::1]:3,a/db", (Host("::1", 3), Host("a"))),
    ],
)
def test_hosts_and_ports_may_stand_in_the_query(url: str, hosts: tuple[Host, ...]) -> None:
    assert read(url).hosts == hosts


SERVICES = """
# A comment
[other]
host=nowhere
[mine]
host = a,b
port=5433
user=u
password=p%@/#
connect_timeout=3
"""


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "services"
    file.write_text(SERVICES)
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    return file


@pytest.mark.usefixtures("services")
def test_service_file_says_what_the_url_does_not() -> None:
    target = read("postgresql:///db?service=mine&connect_timeout=4")
    assert target.hosts == (Host("a", 5433), Host("b", 5433))
    assert (target.user, target.password, target.database) == ("u", "p%@/#", "db")
    assert target.connect_timeout_s == 4
    assert read("postgresql://v:q@c:1/db?service=mine").hosts == (Host("c", 1),)


@pytest.mark.parametrize("line", ["password XyZzY", "XyZzY=1", "host=x\nhost=XyZzY", "channel_binding=require"])
def test_service_file_that_is_wrong_is_not_quoted(services: Path, line: str) -> None:
    services.write_text(f"[mine]\n{line}\n")
    with pytest.raises(InvalidUrl) as raised:
        read("postgresql:///db?service=mine")
    assert "XyZzY" not in str(raised.value)
