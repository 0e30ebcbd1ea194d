"""Private PostgreSQL and RabbitMQ servers on free ports of 127.0.0.1.

    with LocalPostgres() as postgres, LocalRabbit() as rabbit:
        ...                     # postgres.url, rabbit.url
        rabbit.kill()           # at once, like a power cut
        rabbit.start()          # on the same port, with the same data

The data is in a temporary folder, which is deleted with the object. If root starts the servers they run as `nobody`. On
Linux the kernel ends them when the thread that launched them ends, so SIGKILL of this process leaves no process behind;
therefore launch them in the main thread. This need not block an event loop: `launch()` returns at once, and
`wait_ready()`, `stop()` and `kill()` may run in any thread.
"""

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Self

from genlock.servers.ports import give_port_back, take_port
from genlock.servers.probes import ATTEMPT_TIMEOUT_S, READY_TIMEOUT_S, ask_postgres, ask_rabbit, await_answer
from genlock.servers.programs import Programs, ServersUnavailable

_STOP_TIMEOUT_S = 30.0


def die_with_parent(last_signal: signal.Signals, parent: int) -> None:
    """Make the kernel send this process a signal when the thread that started it ends; for `preexec_fn`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(last_signal))  # 1 is PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)  # The parent ended before the call took effect.


class _LocalServer(ABC):
    """A private server: a folder, a port, and a process while it runs."""

    name: ClassVar[str]
    # Requests an orderly shutdown.
    stop_signal: ClassVar[signal.Signals]
    # Ends the server and its helpers at once.
    kill_signal: ClassVar[signal.Signals]

    def __init__(self, programs: Programs | None = None) -> None:
        self._given_programs = programs
        self._nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self.port = take_port()
        self.folder = Path(tempfile.mkdtemp(prefix="genlock-"))
        self._give_away(self.folder)

    @cached_property
    def _programs(self) -> Programs:
        return self._given_programs or Programs.have()

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for clients."""

    @property
    def runs(self) -> bool:
        """Tell whether the server was started and has not ended."""
        return self._process is not None

    @property
    def process_id(self) -> int:
        """The id of the server's main process. Raises RuntimeError if it does not run."""
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process.pid

    @abstractmethod
    def _spawn_server(self) -> subprocess.Popen[bytes]: ...

    @abstractmethod
    def _ask(self, url: str) -> str: ...

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> str:
        """Start or restart the server, and return its version once it answers."""
        self.launch()
        return self.wait_ready()

    def launch(self) -> None:
        """Start the server without waiting for it. Only in the main thread: the server ends with its thread."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} has been started already")
        self._process = self._spawn_server()

    def wait_ready(self) -> str:
        """Return the server's version as soon as it answers. Raises ServersUnavailable."""
        return await_answer(self.name, self._ask, self.url, check=self._check_alive)

    def stop(self) -> None:
        """Shut the server down in order and wait for its end. Does nothing if it does not run."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the server at once, like a power cut. Does nothing if it does not run."""
        self._end(self.kill_signal)

    def close(self) -> None:
        """End the server, remove its folder, and give its port back."""
        try:
            self.kill()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            give_port_back(self.port)

    def _end(self, signal_: signal.Signals) -> None:
        if self._process is not None:
            _end(self._process, signal_)
            self._process = None

    def _check_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise ServersUnavailable(f"{self.name} ended while it was starting: {self._last_words()}.")

    def _last_words(self) -> str:
        lines = (self.folder / "output").read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing").rstrip(".")

    def _give_away(self, path: Path) -> None:
        if self._nobody:
            os.chown(path, self._nobody.pw_uid, self._nobody.pw_gid)

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        self._give_away(path)
        return path

    def _spawn(
        self, command: Sequence[str | Path], last_signal: signal.Signals, environment: Mapping[str, str | Path]
    ) -> subprocess.Popen[bytes]:
        """Start a program as an unprivileged user, in a session of its own, so that Ctrl-C does not reach it."""
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - fixed programs and no shell
                command,
                cwd=self.folder,
                env=self._environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, last_signal, os.getpid()),  # noqa: PLW1509 - it takes no locks
                **self._unprivileged_user(),
            )

    @staticmethod
    def _environment(environment: Mapping[str, str | Path]) -> dict[str, str | Path]:
        return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **environment}

    def _unprivileged_user(self) -> dict[str, Any]:
        """The user and groups of a program."""
        if self._nobody is None:
            return {}
        return {"user": self._nobody.pw_uid, "group": self._nobody.pw_gid, "extra_groups": []}


class LocalPostgres(_LocalServer):
    """A private PostgreSQL. Its url is an administrator's. Further options are written like `shared_buffers=1GB`."""

    name = "PostgreSQL"
    options: tuple[str, ...] = (
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
    )
    stop_signal = signal.SIGINT
    # SIGQUIT ends the backends too, without a checkpoint: the next start recovers. SIGKILL would leave backends behind
    # for a moment, and they would keep the next start from using the data folder.
    kill_signal = signal.SIGQUIT

    def __init__(self, programs: Programs | None = None, options: Sequence[str] = ()) -> None:
        super().__init__(programs)
        self.options = (*self.options, *options)

    @property
    def url(self) -> str:
        """The URL of an administrator."""
        return f"postgresql://genlock@127.0.0.1:{self.port}/postgres?sslmode=disable"

    def _ask(self, url: str) -> str:
        return ask_postgres(url)

    def _spawn_server(self) -> subprocess.Popen[bytes]:
        data = self.folder / "data"
        if not data.exists():
            self._make_cluster(data)
        settings = [word for option in self.options for word in ("-c", option)]
        command: list[Path | str] = [self._programs.postgres, "-D", data, "-p", str(self.port), *settings]
        return self._spawn(command, self.kill_signal, {})

    def _make_cluster(self, data: Path) -> None:
        options = ("--username=genlock", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
        self._run("initdb", "-D", data, *options)

    def _run(self, program: str, *words: str | Path) -> None:
        """Run a program of PostgreSQL to its end."""
        # The programs are beside the server; PATH may have a link to the server only.
        command = [self._programs.postgres.resolve().with_name(program), *words]
        process = self._spawn(command, signal.SIGKILL, {})
        try:
            status = process.wait(READY_TIMEOUT_S)
        finally:
            _end(process, signal.SIGKILL)
        if status != 0:
            raise ServersUnavailable(f"{program} failed: {self._last_words()}.")


class Epmd(_LocalServer):
    """Erlang's port mapper. A broker that finds none starts one, which would outlive it."""

    name = "epmd"
    stop_signal = kill_signal = signal.SIGKILL

    @property
    def url(self) -> str:
        """The address at which brokers register."""
        return f"epmd://127.0.0.1:{self.port}"

    def _ask(self, _url: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=ATTEMPT_TIMEOUT_S):
            return ""

    def _spawn_server(self) -> subprocess.Popen[bytes]:
        return self._spawn(
            [self._programs.epmd, "-port", str(self.port), "-address", "127.0.0.1"], self.kill_signal, {}
        )


class LocalRabbit(_LocalServer):
    """A private RabbitMQ of one node, with the consistent-hash exchange enabled."""

    name = "RabbitMQ"
    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL
    plugins: tuple[str, ...] = ("rabbitmq_consistent_hash_exchange",)

    def __init__(self, programs: Programs | None = None, epmd: Epmd | None = None) -> None:
        super().__init__(programs)
        self.node = f"genlock{secrets.token_hex(4)}@localhost"
        self._node_port = take_port()
        self._epmd = epmd or Epmd(self._programs)
        self._shares_epmd = epmd is not None
        """Whether the port mapper serves other nodes too, and must not be started or ended here."""

    @property
    def url(self) -> str:
        """The URL for clients, as the broker's default user."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def control(self, *words: str) -> str:
        """Run a command of rabbitmqctl and return its output. Raises subprocess.SubprocessError."""
        program = self._programs.rabbitmq.with_name("rabbitmqctl")
        answered = subprocess.run(  # noqa: S603 - a fixed program and no shell
            [program, "--quiet", "--node", self.node, *words],
            cwd=self.folder,
            env=self._environment(self._own()),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=READY_TIMEOUT_S,
            **self._unprivileged_user(),
        )
        said: bytes = answered.stdout
        return said.decode()

    def _own(self) -> dict[str, str | Path]:
        """The variables by which the broker's programs find this broker."""
        return {
            "HOME": self.folder,
            "ERL_EPMD_PORT": str(self._epmd.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }

    def _ask(self, url: str) -> str:
        return ask_rabbit(url)

    def close(self) -> None:
        """End the broker and its port mapper, and remove their files."""
        super().close()
        give_port_back(self._node_port)
        if not self._shares_epmd:
            self._epmd.close()

    def _end(self, signal_: signal.Signals) -> None:
        super()._end(signal_)
        if not self._shares_epmd:
            self._epmd.kill()

    def _config(self) -> list[str]:
        return [f"listeners.tcp.default = 127.0.0.1:{self.port}", "log.console = true", "log.file = false"]

    def _spawn_server(self) -> subprocess.Popen[bytes]:
        if not self._shares_epmd:
            self._epmd.start()
        config = self._write("rabbitmq.conf", "".join(f"{line}\n" for line in self._config()))
        plugins = self._write("enabled_plugins", f"[{','.join(self.plugins)}].\n")
        environment: dict[str, Path | str] = self._own() | {
            # Otherwise Erlang allocates a table for as many files as the machine allows, which can take gigabytes.
            "ERL_MAX_PORTS": "65536",
            # The script execs the broker instead of starting it in the background, so its process id is the broker's.
            "NOTIFY_SOCKET": self.folder / "none",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # Without these, and those in _own, the files and folders of the machine's own broker would be used.
            "RABBITMQ_CONFIG_FILE": config,
            "RABBITMQ_CONFIG_FILES": self.folder / "conf.d",
            "RABBITMQ_ADVANCED_CONFIG_FILE": self.folder / "advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": plugins,
            "RABBITMQ_MNESIA_BASE": self.folder / "mnesia",
            "RABBITMQ_LOG_BASE": self.folder / "log",
            "RABBITMQ_SCHEMA_DIR": self.folder / "schema",
            "RABBITMQ_GENERATED_CONFIG_DIR": self.folder / "generated",
            "RABBITMQ_PID_FILE": self.folder / "pid",
        }
        return self._spawn([self._programs.rabbitmq], self.kill_signal, environment)


def _end(process: subprocess.Popen[bytes], signal_: signal.Signals) -> None:
    """Send a signal to a process, and SIGKILL if it has not ended after a while."""
    process.send_signal(signal_)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
