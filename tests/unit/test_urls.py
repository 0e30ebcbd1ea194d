"""URLs of servers: what of them may be shown, and where their passwords are from."""

from pathlib import Path

import pytest

from genlock._hosts import addresses
from genlock._passwords import naming, with_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:secret@host:1/vhost", "host:1"),
        ("amqps://user:secret@a:1,b,[::1]:2/?cafile=x@y", "a:1, b, [::1]:2"),
        ("amqp://user@:secret@host/", "host"),
        ("amqp:///", ""),
    ],
)
def test_addresses_are_hosts_and_ports_alone(url: str, shown: str) -> None:
    assert addresses(url, "amqp", "amqps") == shown


@pytest.mark.parametrize(
    "url",
    [
        "secret",
        "http://secret@host/",
        "amqp://user:sec/ret@host/",
        "amqp://user:4711/secret@host/",
        "amqp://user:sec?ret@host/",
        "amqp://user:4711#ret@host/",
        "amqp://user:pass@host:secret/",
        "amqp://user:pass@a,b:secret/",
        "amqp://user:pass@[::1/",
        "amqp://user:pass@host:0/",
    ],
)
def test_what_is_no_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(
        ValueError, match=r"^it has to look like amqp://user:password@host:port/name, and what is special"
    ):
        addresses(url, "amqp", "amqps")


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("amqp://user@host/", "amqp://user:%2F%25%3A%20%C3%A4@host/"),
        ("amqp://user@a,b:2/?heartbeat=1", "amqp://user:%2F%25%3A%20%C3%A4@a,b:2/?heartbeat=1"),
        ("amqp://host/", "amqp://:%2F%25%3A%20%C3%A4@host/"),
        ("amqp://user:own@host/", "amqp://user:own@host/"),
    ],
)
def test_a_password_is_read_from_its_file(url: str, whole: str, tmp_path: Path) -> None:
    file = tmp_path / "a secret & more"
    file.write_text("/%: ä\n")
    assert with_password(naming(url, str(file))) == whole


@pytest.mark.parametrize("query", ["?password_file={}", "?password_file={}&a=b", "?a=b&password_file={}"])
def test_a_url_may_name_the_file_itself(query: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("new")
    rest = "?a=b" if "a=b" in query else ""
    assert with_password(f"amqp://user:old@host/{query.format(file)}") == f"amqp://user:new@host/{rest}"


def test_without_a_file_a_url_is_as_it_is() -> None:
    assert with_password(naming("amqp://user@host/?a=b", "")) == "amqp://user@host/?a=b"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        with_password(naming("amqp://user@host/", str(tmp_path / "nothing")))
