"""URLs that name several hosts, `scheme://user:password@a:1,b:2/path?query`, as PostgreSQL's own clients take them."""

import re

# The parts of RFC 3986, which knows no list of hosts: urllib refuses one that has an IPv6 address in it.
_URL = re.compile(r"(?P<before>[^/?#]*//(?:[^/?#]*@)?)(?P<hosts>[^/?#]*)(?P<after>.*)", re.DOTALL)


def one_for_each_host(url: str) -> list[str]:
    """The URLs `…@a/…` and `…@b/…` for one such as `…@a,b/…`."""
    parts = _URL.fullmatch(url)
    return [f"{parts['before']}{host}{parts['after']}" for host in parts["hosts"].split(",")] if parts else [url]
