"""The servers that nodes of a cluster share what they know by, on loopback, each a real one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Protocol, Self

from tests.cluster.rabbitmq import LOOPBACK, WITH_US
from tests.free_ports import free_port

DEADLINE = 60.0
_POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
_ACCOUNT = "postgres"
"""Its server refuses to run as root."""


class Store(Protocol):
    """A server with room for many clusters that do not see each other."""

    def new(self) -> str:
        """The URL of an empty place in it; empty text for the journal."""

    def kill(self) -> None:
        """End it without warning."""

    def start(self) -> None:
        """Start it, with what it had."""


class JournalStore:
    """No server: nodes on one machine share the journal of one state folder."""

    def new(self) -> str:
        return ""

    def kill(self) -> None:
        raise NotImplementedError("there is no server to kill")

    start = kill


class _Server:
    """A process that listens on a port."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def address(self) -> str:
        return self._addresses[-1]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def command(self) -> list[str | Path]:
        raise NotImplementedError

    def account(self) -> str | None:
        """Who runs it, if not we."""
        return None

    def start(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while not self._try_to_start():
            assert time.monotonic() < deadline, self.command()

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _try_to_start(self) -> bool:
        """False where it ended again: it may have to wait for what is left of its last life."""
        self._process = subprocess.Popen(
            [*WITH_US, *self.command()],
            user=self.account(),
            group=self.account(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while self._process.poll() is None:
            if self.answers():
                return True
            time.sleep(0.02)  # between two looks
        time.sleep(0.1)  # before it is tried again
        return False

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection((LOOPBACK, self.port), DEADLINE):
            return True
        return False


class RedisServer(_Server):
    """Redis that writes each change to disk before it answers; URLs are of its databases."""

    def __init__(self, folder: Path, *, addresses: Sequence[str] = (LOOPBACK,)) -> None:
        super().__init__(addresses)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._numbers = count()

    def command(self) -> list[str | Path]:
        return [
            "redis-server",
            *("--port", str(self.port), "--bind", *self._addresses),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            *("--databases", "100", "--protected-mode", "no", "--dir", self._folder),
        ]

    def answers(self) -> bool:
        with (
            suppress(OSError),
            socket.create_connection((LOOPBACK, self.port), DEADLINE) as connection,
        ):
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"
        return False

    def new(self) -> str:
        return f"redis://{self.address}:{self.port}/{next(self._numbers)}"


class PostgresServer(_Server):
    """PostgreSQL in a folder of its own, which its account can reach; URLs are of databases."""

    def __init__(self, *, addresses: Sequence[str] = (LOOPBACK,)) -> None:
        super().__init__(addresses)
        self._folder = Path(tempfile.mkdtemp(prefix="cluster-postgres-"))
        self._numbers = count()

    def __enter__(self) -> Self:
        assert _POSTGRES is not None
        try:
            if account := self.account():
                shutil.chown(self._folder, account, account)
            subprocess.run(
                [_POSTGRES / "initdb", "-A", "trust", "-U", _ACCOUNT, "-N", "-D", self._data],
                user=self.account(),
                group=self.account(),
                cwd="/",
                stdout=subprocess.DEVNULL,
                check=True,
            )
            self._trust()
            return super().__enter__()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        # What is left of its processes may still write there.
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _trust(self) -> None:
        with (self._data / "pg_hba.conf").open("a") as hosts:
            hosts.write("\nhost all all samenet trust\n")

    def account(self) -> str | None:
        return _ACCOUNT if os.geteuid() == 0 else None

    def command(self) -> list[str | Path]:
        assert _POSTGRES is not None
        options = {
            "listen_addresses": ",".join(self._addresses),
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "16MB",
            # Else a start after a kill opens each of a thousand files for each database.
            "recovery_init_sync_method": "syncfs",
        }
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [_POSTGRES / "postgres", "-D", self._data, "-p", str(self.port), *given]

    def answers(self) -> bool:
        import psycopg  # noqa: PLC0415 - an extra

        with suppress(psycopg.OperationalError), psycopg.connect(self._url(_ACCOUNT)):
            return True
        return False

    def new(self) -> str:
        import psycopg  # noqa: PLC0415 - an extra

        name = f"cluster_{next(self._numbers)}"
        with psycopg.connect(self._url(_ACCOUNT), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name).replace(f"@{LOOPBACK}:", f"@{self.address}:")

    def _url(self, database: str) -> str:
        return f"postgresql://{_ACCOUNT}@{LOOPBACK}:{self.port}/{database}"


KINDS = ("journal", "redis", "postgres")


def is_installed(kind: str) -> bool:
    """Whether there is a server of that kind to start."""
    if kind == "redis":
        return shutil.which("redis-server") is not None
    return kind == "journal" or _POSTGRES is not None


def start(kind: str, folder: Path, *, addresses: Sequence[str] = (LOOPBACK,)) -> Iterator[Store]:
    """One of them, for as long as the generator is not closed."""
    if kind == "redis":
        with RedisServer(folder, addresses=addresses) as redis:
            yield redis
    elif kind == "postgres":
        with PostgresServer(addresses=addresses) as postgres:
            yield postgres
    else:
        yield JournalStore()
