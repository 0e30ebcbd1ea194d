"""Passwords that stand in a file, as secrets of Docker and Kubernetes do: `amqp://user@host/?password_file=/run/secrets/amqp`.

The file is read at each connect, so that a password which is changed there holds from the next connection on.
"""

import re
from pathlib import Path
from urllib.parse import quote, unquote

_FILE = re.compile(r"(?P<mark>[?&])password_file=(?P<file>[^&#]*)&?")
_USER_INFO = re.compile(r"(?<=://)(?:(?P<user>[^/?#@:]*)(?P<password>:[^/?#@]*)?@)?")


def naming(url: str, file: str) -> str:
    """The URL with the name of a file in it; as it is where there is none, or where it has its password itself."""
    if not file or (found := _USER_INFO.search(url)) is None or found["password"]:
        return url
    return f"{url}{'&' if '?' in url else '?'}password_file={quote(file)}"


def with_password(url: str) -> str:
    """The URL with the password from the file that it names, without a line break at the end. Raises OSError."""
    found = _FILE.search(url)
    if found is None:
        return url
    password = quote(Path(unquote(found["file"])).read_bytes().rstrip(b"\r\n"), safe="")
    url = (url[: found.start()] + found["mark"] + url[found.end() :]).removesuffix(found["mark"])
    return _USER_INFO.sub(lambda info: f"{info['user'] or ''}:{password}@", url, count=1)
