"""Servers of a single test that speak TLS, and ask for a password and also for a certificate of the client."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import trustme

from genlock.servers import LocalPostgres, LocalRabbit
from genlock.servers.ports import give_port_back, take_port
from genlock.servers.programs import Programs

NAME = "localhost"
"""The name in the servers' certificates; 127.0.0.1 is not in them."""

USER = "genlock"
"""The name in the client's certificate, and that of PostgreSQL's administrator."""


class Certificates:
    """Files with the certificates of an authority, of a client, and of another authority that knows neither."""

    def __init__(self, folder: Path) -> None:
        self._authority, stranger = trustme.CA(), trustme.CA()
        self.authority = self._written(folder / "ca.pem", self._authority.cert_pem)
        self.stranger = self._written(folder / "stranger.pem", stranger.cert_pem)
        client = self._authority.issue_cert("genlock@example.org", common_name=USER)
        self.certificate = self._written(folder / "client.pem", *client.cert_chain_pems)
        self.key = self._written(folder / "client.key", client.private_key_pem)

    @staticmethod
    def _written(file: Path, *blobs: trustme.Blob) -> Path:
        for number, blob in enumerate(blobs):
            blob.write_to_path(file, append=number > 0)
        file.chmod(0o600)
        return file

    def server_files(self) -> dict[str, str]:
        """What a server needs, by file names."""
        own = self._authority.issue_cert(NAME)
        chain = "".join(blob.bytes().decode() for blob in own.cert_chain_pems)
        key = own.private_key_pem.bytes().decode()
        return {"ca.pem": self._authority.cert_pem.bytes().decode(), "server.pem": chain, "server.key": key}


class SecuredPostgres(LocalPostgres):
    """A PostgreSQL that trusts its administrator alone: without TLS, or by a certificate in that name."""

    rules = """\
hostnossl all genlock 127.0.0.1/32 trust
hostssl all genlock 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
hostnossl all all 127.0.0.1/32 scram-sha-256
"""

    def __init__(self, programs: Programs, certificates: Certificates) -> None:
        super().__init__(programs)
        for name, text in certificates.server_files().items():
            self._write(name, text).chmod(0o600)
        rules = self._write("pg_hba.conf", self.rules)
        files = {"ssl_ca_file": "ca.pem", "ssl_cert_file": "server.pem", "ssl_key_file": "server.key"}
        tls = [f"{setting}={self.folder / file}" for setting, file in files.items()]
        self.options = (*self.options, "ssl=on", f"hba_file={rules}", *tls)


class SecuredRabbit(LocalRabbit):
    """A RabbitMQ with one more port, for TLS, where the certificate of a client is enough to log in."""

    plugins = (*LocalRabbit.plugins, "rabbitmq_auth_mechanism_ssl")

    def __init__(self, programs: Programs, certificates: Certificates) -> None:
        super().__init__(programs)
        self.tls_port = take_port()
        for name, text in certificates.server_files().items():
            self._write(name, text)

    def close(self) -> None:
        """End the broker, and give its other port back too."""
        super().close()
        give_port_back(self.tls_port)

    def _config(self) -> list[str]:
        files = {"cacertfile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
        return [
            *super()._config(),
            f"listeners.ssl.default = 127.0.0.1:{self.tls_port}",
            *(f"ssl_options.{option} = {self.folder / file}" for option, file in files.items()),
            "ssl_options.verify = verify_peer",
            "ssl_options.fail_if_no_peer_cert = true",
            *(f"auth_mechanisms.{n} = {name}" for n, name in enumerate(("PLAIN", "AMQPLAIN", "EXTERNAL"), 1)),
            "ssl_cert_login_from = common_name",
        ]


@dataclass(frozen=True)
class Secured:
    """Both servers."""

    postgres: SecuredPostgres
    rabbit: SecuredRabbit
    certificates: Certificates

    def database_url(self, user: str, database: str, password: str | None = None, **parameters: str) -> str:
        """Where PostgreSQL is, without TLS unless a parameter says otherwise."""
        query = urlencode({"sslmode": "disable"} | parameters)
        return f"postgresql://{_user_info(user, password)}@{NAME}:{self.postgres.port}/{database}?{query}"

    def amqp_url(self, user: str, password: str | None = None) -> str:
        """Where RabbitMQ is, without TLS."""
        return f"amqp://{_user_info(user, password)}@{NAME}:{self.rabbit.port}/"

    def amqps_url(self, user: str, password: str | None = None, host: str = NAME, **parameters: str) -> str:
        """Where RabbitMQ is, with TLS."""
        return f"amqps://{_user_info(user, password)}@{host}:{self.rabbit.tls_port}/?{urlencode(parameters)}"


def _user_info(user: str, password: str | None) -> str:
    return user if password is None else f"{user}:{quote(password, safe='')}"


@contextmanager
def secured_servers(programs: Programs, folder: Path) -> Iterator[Secured]:
    """Have both servers for the time of the context."""
    certificates = Certificates(folder)
    with SecuredRabbit(programs, certificates) as rabbit, SecuredPostgres(programs, certificates) as postgres:
        yield Secured(postgres, rabbit, certificates)
