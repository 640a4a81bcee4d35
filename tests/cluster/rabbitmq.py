"""A RabbitMQ of our own, on loopback, from Debian's package: it leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

from tests.free_ports import free_ports

LOOPBACK = "127.0.0.1"
USER, PASSWORD = "tester", "a/broker@password"
DEADLINE = 60.0
WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""Ends what it runs when we are gone, whichever way we ended."""
_SCRIPTS = Path("/usr/lib/rabbitmq/bin")
_GREETING = b"AMQP\x00\x00\x09\x01"


def is_installed() -> bool:
    """Whether there is a broker to start."""
    return (_SCRIPTS / "rabbitmq-server").exists() and shutil.which("epmd") is not None


class RabbitMQ:
    """A broker that is started on entry; ``vhosts`` are there from the start.

    It listens on ``addresses``. ``consumer_timeout`` is in seconds. What it keeps is in
    ``folder``, so that it survives ``kill`` and ``start``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        vhosts: Sequence[str] = ("test",),
        addresses: Sequence[str] = (LOOPBACK,),
        consumer_timeout: float = 1800.0,
    ) -> None:
        self._folder = folder
        self._addresses = addresses
        self.port, self._distribution, self._names = free_ports(3)
        (folder / "log").mkdir(parents=True)
        (folder / "mnesia").mkdir()
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "definitions.json").write_text(json.dumps(_definitions(vhosts)))
        (folder / "rabbitmq.conf").write_text(self._configuration(consumer_timeout))
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._epmd = subprocess.Popen(
            [*WITH_US, "epmd", "-address", LOOPBACK, "-port", str(self._names)],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()

    def url(self, vhost: str = "test", *, user: str = USER, password: str = PASSWORD) -> str:
        """Where clients find a virtual host of it."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"amqp://{login}@{self._addresses[-1]}:{self.port}/{quote(vhost, safe='')}"

    def local_url(self, vhost: str = "test") -> str:
        """The same, over loopback."""
        return self.url(vhost).replace(f"@{self._addresses[-1]}:", f"@{LOOPBACK}:")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        with (self._folder / "output").open("ab") as output:
            self._server = subprocess.Popen(
                [*WITH_US, _SCRIPTS / "rabbitmq-server"],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._wait()

    def kill(self) -> None:
        """End it without warning."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    @property
    def pid(self) -> int:
        """Its process, while it runs."""
        assert self._server is not None
        return self._server.pid

    def control(self, *arguments: str) -> str:
        """What rabbitmqctl prints. It takes a second or two, most of it of a processor."""
        return subprocess.run(
            [_SCRIPTS / "rabbitmqctl", "-q", *arguments],
            env=self.environment(),
            check=True,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        ).stdout

    def add_vhosts(self, names: Sequence[str]) -> None:
        """More of them."""
        more = self._folder / "more.json"
        more.write_text(json.dumps(_definitions(names)))
        self.control("import_definitions", str(more))

    def set_consumer_timeout(self, seconds: float) -> None:
        """For deliveries from now on."""
        milliseconds = int(seconds * 1000)
        self.control("eval", f"application:set_env(rabbit, consumer_timeout, {milliseconds}).")

    def depths(self, vhost: str = "test") -> dict[str, int]:
        """The messages of each queue, those that are taken but not acknowledged included."""
        said = self.control("list_queues", "-p", vhost, "--no-table-headers", "name", "messages")
        lines = (line.split("\t") for line in said.splitlines())
        return {name: int(count) for name, count in lines}

    def wait_for_queue(self, name: str) -> None:
        """Wait until a quorum queue would survive: it is on disk a second after it was declared.

        One that is killed before has the queue again, but takes nothing for it any more.
        """
        deadline = time.monotonic() + DEADLINE
        while not any(name.encode() in kept.read_bytes() for kept in self._directories()):
            assert time.monotonic() < deadline, f"no queue {name}"
            time.sleep(0.05)  # between two looks

    def _directories(self) -> list[Path]:
        return list((self._folder / "mnesia").rglob("names.dets"))

    def _wait(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while not all(_answers(address, self.port) for address in self._addresses):
            assert self._server is not None
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self._said())
            time.sleep(0.05)  # between two looks

    def _said(self) -> str:
        logs = [self._folder / "output", *(self._folder / "log").iterdir()]
        return "\n".join(path.read_text(errors="replace")[-5000:] for path in logs)

    def environment(self) -> dict[str, str]:
        """Of it, and of its tools: without it they start a name server on all addresses."""
        folder = self._folder
        return {
            "PATH": f"{_SCRIPTS}:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": "test@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}"
            ),
            # The server in place of a shell that starts it.
            "RUNNING_UNDER_SYSTEMD": "yes",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self._names),
        }

    def _configuration(self, consumer_timeout: float) -> str:
        listeners = [
            f"listeners.tcp.{number} = {address}:{self.port}"
            for number, address in enumerate(self._addresses, 1)
        ]
        return "\n".join(
            [
                *listeners,
                "loopback_users = none",
                f"load_definitions = {self._folder / 'definitions.json'}",
                "log.console = false",
                f"consumer_timeout = {int(consumer_timeout * 1000)}",
                # Killed brokers of tests must not be stopped by how full this disk is.
                "disk_free_limit.absolute = 50MB",
                "",
            ]
        )


def _definitions(vhosts: Sequence[str]) -> dict[str, object]:
    """Two users, of whom one may do nothing anywhere."""
    all_of_it = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [
            {"name": USER, "password": PASSWORD, "tags": "administrator"},
            {"name": "nobody", "password": PASSWORD, "tags": ""},
        ],
        "vhosts": [{"name": name} for name in vhosts],
        "permissions": [{"user": USER, "vhost": name, **all_of_it} for name in vhosts],
    }


def _answers(address: str, port: int) -> bool:
    """Whether a broker greets there: its Connection.Start is a frame of type 1."""
    try:
        with socket.create_connection((address, port), timeout=DEADLINE) as connection:
            connection.sendall(_GREETING)
            return connection.recv(1) == b"\x01"
    except OSError:
        return False
