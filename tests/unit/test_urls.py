"""URLs of servers: what of them may be shown, and where their passwords are from."""

import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from genlock._net import broker_urls
from genlock._net.urls import InvalidUrl, PasswordFileError, url_with, with_password_file
from genlock.cli.settings_table import masked
from genlock.service.database import postgres_urls
from genlock.service.settings import Settings

MARK = "XyZzY"

NO_OPTION = "it has no option"

SPECIAL = [*"@/#?%[] \t\n\x00\x7f\u200b\u2100", "%zz", "\r\n", "%00", "%ff"]
"""One of those beyond ASCII is invisible, and the other holds a slash for some readers."""

READERS = {"postgresql": postgres_urls.read, "amqp": broker_urls.read, "amqps": broker_urls.read}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:secret@host:1/vhost", "host:1"),
        ("amqps://user:secret@a:1,b,[::1]:2/?cafile=x%40y", "a:1, b, [::1]:2"),
        ("amqp://user%40:secret@host/", "host"),
        ("amqp://user:se:cret@host", "host"),
        ("amqp://user:sécret@host.example.\n", "host.example."),
        ("amqp://[fe80::1%25eth0]/a/b", "[fe80::1%eth0]"),
    ],
)
def test_addresses_are_hosts_and_ports_alone(url: str, shown: str) -> None:
    assert broker_urls.read(url).addresses == shown


@pytest.mark.parametrize("where", ["user", "password", "password of several hosts", "in an option", "in a path"])
@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("scheme", READERS)
def test_special_character_that_is_not_encoded_is_refused_without_being_quoted(
    scheme: str, special: str, where: str
) -> None:
    raw = f"{MARK}{special}4711{special}{MARK}"
    url = {
        "user": f"{scheme}://{raw}:x@127.0.0.1/x",
        "password": f"{scheme}://user:{raw}@127.0.0.1/x",
        "password of several hosts": f"{scheme}://user:{raw}@127.0.0.1:1,127.0.0.2:2/x?heartbeat=1",
        "in an option": f"{scheme}://user:{raw}@127.0.0.1/x?password=1&{MARK}=1&connect_timeout=@",
        "in a path": f"{scheme}://user:4711/{raw}@127.0.0.1/x",
    }[where]
    form = f"it has to look like {scheme.removesuffix('s')}://user:password@host:port/"
    with pytest.raises(InvalidUrl) as raised:
        READERS[scheme](url)
    assert str(raised.value).startswith(form)
    assert str(raised.value).endswith("percent-encoded, such as @ as %40")
    told = "".join(traceback.format_exception(raised.value))
    assert MARK not in told
    assert "4711" not in told
    assert masked(SecretStr(url)) == "***"


@pytest.mark.parametrize(
    "url",
    [
        MARK,
        f"http://{MARK}@host/",
        f"amqp:user:{MARK}@host/",
        f"amqp://user:p@host:{MARK}/",
        f"amqp://user:p@a,b:{MARK}/",
        f"amqp://user:p@[{MARK}]/",
        f"amqp://user:p@[::{MARK}/",
        "amqp://user:p@[::1]x/",
        "amqp://user:p@[1:2]/",
        f"amqp://user:p@{MARK}!/",
        f"amqp://user:p@{MARK * 13}/",
        f"amqp://user:p@{MARK}..x/",
        f"amqp://user:p@{MARK},,b/",
        "amqp://user:p@%2Fvar%2Frun/",
        "amqp://user:p@host:0/",
        "amqp://user:p@host:65536/",
        f"amqp://user:{MARK}@a,user:{MARK}@b/",
        f"amqp://user:{MARK}@a/x@b",
        f"amqp://user:{MARK}@a/?cafile=x@b",
    ],
)
def test_malformed_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(InvalidUrl, match=r"^it has to look like amqp://user:") as raised:
        broker_urls.read(url)
    assert MARK not in "".join(traceback.format_exception(raised.value))


def test_every_character_stands_for_itself_where_it_is_encoded() -> None:
    every = "".join(map(chr, range(1, 0x180)))
    coded = quote(every, safe="")
    (broker,) = broker_urls.brokers(f"amqp://{coded}:{coded}@host/{coded}", heartbeat_s=10)
    assert (broker.user, broker.password, broker.path) == (every, every, f"/{every}")
    target = postgres_urls.read(f"postgresql://{coded}:{coded}@host/{coded}?application_name={coded}")
    assert (target.user, target.password, target.database) == (every, every, every)
    assert target.server_settings == {"application_name": every}


def test_errors_of_settings_say_the_form_alone() -> None:
    with pytest.raises(ValueError, match="postgresql://user:password@host:port/database") as raised:
        Settings(database_url=SecretStr(f"postgresql://postgres:{MARK}@{MARK}/w#{MARK}@127.0.0.1/db"))
    assert MARK not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("amqp:///vhost", "it names no host"),
        ("amqp://h/?heartbeat=1&prefetch=2&x=3", r"it has the unknown option prefetch, x; known are .*heartbeat"),
        ("amqp://h/?heartbeat=1&heartbeat=2", "it says heartbeat more than once"),
        ("amqp://h/?heartbeat=x", "its option heartbeat has to be a whole number of seconds"),
        ("amqp://h/?connection_timeout=5s", "its option connection_timeout has to be a whole number of milliseconds"),
        ("amqp://h/?no_verify_ssl=false", "its option no_verify_ssl has to be 0 or 1"),
        ("amqp://h/?auth=none", "its option auth has to be one of "),
        ("amqps://h/?cadata=!", "its option cadata has to be certificates in base64"),
        ("amqp://h/?happy_eyeballs_delay=x", "its option happy_eyeballs_delay has to be a number of seconds"),
        ("amqp://h/?heartbeat", "its query has to look like"),
        ("amqp://h/?HeartBeat=1", "its option HeartBeat has to be written in lower case"),
        (f"amqp://h/?password=x&{MARK}=1", f"{NO_OPTION} password: a password stands before the @"),
        (f"amqp://h/?PassWord={MARK}", f"{NO_OPTION} PassWord: a password stands before the @"),
    ],
)
def test_option_that_the_broker_cannot_have_is_named(url: str, why: str) -> None:
    with pytest.raises(InvalidUrl, match=f"^{why}") as raised:
        broker_urls.read(url)
    assert MARK not in str(raised.value)


@pytest.mark.parametrize("name", ["passwd", "pass", "pasword", "pwd", "pg_password", "secret"])
def test_misspelt_password_is_no_setting_of_the_server(name: str) -> None:
    with pytest.raises(InvalidUrl, match=f"^{NO_OPTION} {name}: a password stands before the @") as raised:
        postgres_urls.read(f"postgresql://host/?{name}={MARK}&{MARK}=1")
    assert MARK not in str(raised.value)


@pytest.mark.parametrize("name", ["password_encryption", "statement_timeout", "app.user"])
def test_setting_of_the_server_is_no_misspelt_password(name: str) -> None:
    assert postgres_urls.read(f"postgresql://host/?{name}=x").server_settings == {name: "x"}


PASSWORD = "/%: ä"  # noqa: S105 - of no server


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize("url", ["amqp://user@host/", "amqp://user@host/?heartbeat=1", "amqp://host\n"])
def test_a_password_is_read_from_its_file(url: str, ending: str, tmp_path: Path) -> None:
    file = tmp_path / "a secret & more"
    file.write_text(f"{PASSWORD}{ending}")
    assert broker_urls.read(with_password_file(url, str(file), broker_urls.KIND)).current_password() == PASSWORD


@pytest.mark.parametrize("url", ["amqp://user:own@host/", "amqp://user:@host/", "amqp://user@host/?password_file=own"])
def test_password_of_the_url_comes_before_the_setting_with_a_file(url: str) -> None:
    assert with_password_file(url, "file", broker_urls.KIND) == url


def test_file_that_the_url_names_comes_before_its_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("new")
    url = f"amqp://user:old@host/?heartbeat=1&password_file={file}"
    (broker,) = broker_urls.brokers(url, heartbeat_s=10)
    assert (broker.password, dict(broker.query)) == ("new", {"heartbeat": "1"})


def test_without_a_file_a_url_is_as_it_is() -> None:
    assert with_password_file("amqp://user@host/?a=b", "", broker_urls.KIND) == "amqp://user@host/?a=b"


@pytest.mark.parametrize("name", [MARK, f"/{MARK}", f"{MARK}/%26%23%40", MARK * 100])
def test_password_in_place_of_its_file_is_not_quoted(name: str) -> None:
    with pytest.raises(PasswordFileError, match=r"^the file with the password cannot be read \(.*\); ") as raised:
        broker_urls.brokers(f"amqp://user@host/?password_file={name}", heartbeat_s=10)
    assert MARK not in "".join(traceback.format_exception(raised.value))


def test_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PasswordFileError, match="directory"):
        broker_urls.brokers(f"amqp://user@host/?password_file={tmp_path}", heartbeat_s=10)


def test_password_file_with_the_character_0_is_named_and_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{MARK}\0")
    with pytest.raises(PasswordFileError, match=f"the file {file} must not have the character 0$") as raised:
        broker_urls.brokers(f"amqp://user@host/?password_file={file}", heartbeat_s=10)
    assert MARK not in str(raised.value)


def test_password_file_that_is_not_text_is_named_and_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"XyZzY\xff")
    with pytest.raises(OSError, match="password has to be UTF-8") as raised:
        broker_urls.brokers(f"amqp://user@host/?password_file={file}", heartbeat_s=10)
    assert "0xff" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("postgresql://a:b@h:1,i/x?sslmode=disable", "postgresql://u:%40@h:1,i/y?sslmode=disable"),
        ("postgresql://h", "postgresql://u:%40@h/y"),
        ("postgresql:///x?host=/run/postgresql&port=1\n", "postgresql://u:%40@/y?host=/run/postgresql&port=1"),
        ("postgresql://h/?user=a&password=b&dbname=x", "postgresql://u:%40@h/y"),
        ("postgresql://a@h/?passw%6Frd_file=f&statement_timeout=1", "postgresql://u:%40@h/y?statement_timeout=1"),
    ],
)
def test_url_of_another_role_and_another_database_says_nothing_twice(url: str, there: str) -> None:
    changed = url_with(url, postgres_urls.KIND, login=("u", "@"), name="y")
    assert changed == there
    target = postgres_urls.read(changed)
    assert (target.user, target.password, target.database, target.hosts) == (
        "u",
        "@",
        "y",
        postgres_urls.read(url).hosts,
    )
