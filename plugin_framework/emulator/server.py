"""The emulator in a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import uvicorn
from starlette.applications import Starlette

from plugin_framework.emulator.api import Credentials
from plugin_framework.emulator.app import create_app
from plugin_framework.emulator.dialects import check_name
from plugin_framework.emulator.store import Store

_HOST: Final = "127.0.0.1"
_BACKLOG: Final = 512
_STOP_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class _Orders:
    """What the child is told on its standard input, where secrets are nobody else's to see."""

    fd: int
    state_dir: str
    public_url: str
    url_lifetime: int
    dialect: str
    key: str | None
    secret: str | None

    @property
    def credentials(self) -> Credentials | None:
        if self.key is None or self.secret is None:
            return None
        return Credentials(self.key, self.secret)


class Emulator:
    """A local Datahub, served from another process while the ``with`` block lasts.

    Attributes:
        url: where it listens; loopback only.
        store: its state, to create subtasks in and to look at.
        pid: the server's process, once entered.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        key: str | None = None,
        secret: str | None = None,
        url_lifetime: int = 3600,
        port: int = 0,
        dialect: str = "s3",
    ) -> None:
        check_name(dialect)
        if (key is None) != (secret is None):
            raise ValueError("key and secret go together")
        self._credentials = (key, secret)
        self._state_dir = state_dir
        self._url_lifetime = url_lifetime
        self._dialect = dialect
        self._port = port
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self.pid = 0
        self.store: Store

    def __enter__(self) -> Self:
        """Start the server. Requests may be made at once: the socket listens already."""
        with _listen(self._port) as listener:
            self.store = Store(self._state_dir)
            self.url = f"http://{_HOST}:{listener.getsockname()[1]}"
            key, secret = self._credentials
            orders = _Orders(
                listener.fileno(),
                str(self._state_dir),
                self.url,
                self._url_lifetime,
                self._dialect,
                key,
                secret,
            )
            self._process = _start(orders)
        self.pid = self._process.pid
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the server."""
        self.stop()
        self.store.close()

    def stop(self) -> None:
        """End the server; the store stays readable."""
        process, self._process = self._process, None
        if process is None:
            return
        _close(process.stdin)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve(commands: IO[str]) -> None:
    """Serve as the first line of ``commands`` says, until SIGTERM or the end of ``commands``."""
    orders = _Orders(**json.loads(commands.readline()))
    store = Store(Path(orders.state_dir))
    store.objects.sweep()
    app = create_app(
        store,
        credentials=orders.credentials,
        url_lifetime=orders.url_lifetime,
        public_url=orders.public_url,
        dialect=orders.dialect,
    )
    server = uvicorn.Server(_config(app))
    watcher = threading.Thread(target=_stop_at_end, args=(commands, server), daemon=True)
    watcher.start()
    server.run(sockets=[socket.socket(fileno=orders.fd)])
    store.close()


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,  # it would write presigned queries
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def _stop_at_end(commands: IO[str], server: uvicorn.Server) -> None:
    commands.read()
    server.should_exit = True


def _listen(port: int) -> socket.socket:
    listener = socket.create_server((_HOST, port), backlog=_BACKLOG)
    # Connections inherit it; asyncio sets it only on sockets that say which protocol they are of.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _start(orders: _Orders) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "plugin_framework.emulator"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        pass_fds=[orders.fd],
        # Ctrl-C is for the plugin; it still has to report to us what it made of it.
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(orders)) + "\n")
    process.stdin.flush()
    return process


def _close(stream: IO[str] | None) -> None:
    if stream is not None:
        stream.close()
