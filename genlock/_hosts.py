"""URLs that name several hosts, `scheme://user:password@a:1,b:2/path?query`, as PostgreSQL's own clients take them."""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

# The parts of RFC 3986, which knows no list of hosts: urllib refuses one that has an IPv6 address in it.
_URL = re.compile(r"(?P<before>[^/?#]*//(?:[^/?#]*@)?)(?P<hosts>[^/?#]*)(?P<after>.*)", re.DOTALL)


def addresses(url: str, *schemes: str) -> str:
    """The hosts and ports that a URL names, which unlike the URL hold no secret.

    Raises ValueError where it is no URL with one of these schemes, or one whose password looks like a part of it. The
    error quotes nothing.
    """
    parts = _URL.fullmatch(url)
    # An @ behind the hosts belongs to a password with something special in it, which begins where a host should be.
    whole = parts is not None and ("@" in parts["before"] or "@" not in parts["after"])
    if parts is None or not whole or not all(_is_sound(one, schemes) for one in one_for_each_host(url)):
        raise ValueError(
            f"it has to look like {schemes[0]}://user:password@host:port/name, and what is special in URLs has to be "
            "percent-encoded in its password"
        )
    return parts["hosts"].replace(",", ", ")


def _is_sound(url: str, schemes: Collection[str]) -> bool:
    try:
        scheme, port = urlsplit(url).scheme, urlsplit(url).port
    except ValueError:
        return False
    return scheme in schemes and port != 0


def one_for_each_host(url: str) -> list[str]:
    """The URLs `…@a/…` and `…@b/…` for one such as `…@a,b/…`."""
    parts = _URL.fullmatch(url)
    return [f"{parts['before']}{host}{parts['after']}" for host in parts["hosts"].split(",")] if parts else [url]
