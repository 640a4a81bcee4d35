"""The emulator's server, here or in a process of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Final, Self

import uvicorn
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from plugin_framework.emulator.api import Credentials
from plugin_framework.emulator.app import create_app
from plugin_framework.emulator.buckets import check_bucket
from plugin_framework.emulator.chaos import Chaos
from plugin_framework.emulator.chaos.remote import get_rules, put_rules
from plugin_framework.emulator.control import Control
from plugin_framework.emulator.dialects import check_name
from plugin_framework.emulator.listening import listen, url_of
from plugin_framework.emulator.settings import LOST_SECONDS, ServerSettings, check_services
from plugin_framework.emulator.store import Store
from plugin_framework.emulator.target import TargetProtocol
from plugin_framework.errors import Code, ConfigurationError

_STOP_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 1
_KEEP_ALIVE_SECONDS: Final = 65
"""Longer than plugins pause between two heartbeats."""


class Server:
    """A local Datahub that listens already; ``run`` serves it.

    Attributes:
        url: where the page is, and Datahub.
        port: where it listens.

    Raises:
        ConfigurationError: the address cannot be had, or the bucket not be used, or a service
            have no such address.
    """

    def __init__(self, settings: ServerSettings, listener: socket.socket | None = None) -> None:
        self._settings = settings
        check_services(settings.services)
        if settings.bucket is not None:
            check_bucket(settings.bucket)
        self._listener = listener or _listen(settings)
        self.url: str = settings.public_url or url_of(self._listener)
        self.port: int = self._listener.getsockname()[1]
        self._uvicorn: _Uvicorn | None = None
        self._stopped = threading.Event()

    def run(self) -> int | None:
        """Serve until ``stop`` or, on the main thread, SIGTERM or SIGINT: that signal's number."""
        with ExitStack() as made:
            store = Store(self._settings.state_dir, bucket=self._settings.bucket)
            made.callback(store.close)
            store.objects.sweep()
            store.uploads.clear()
            chaos = _chaos(self._settings.chaos)
            control = Control(self._settings, store, chaos, self.url)
            made.callback(control.close)
            if self._settings.whole:
                control.make()
            self._uvicorn = _Uvicorn(self._app(store, control, chaos), control)
            if self._stopped.is_set():
                self._uvicorn.should_exit = True
            self._uvicorn.run(sockets=[self._listener])
        return self._uvicorn.signal

    def stop(self) -> None:
        """End ``run``, from any thread."""
        self._stopped.set()
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True

    def _app(self, store: Store, control: Control, chaos: Chaos) -> ASGIApp:
        return create_app(
            store,
            credentials=self._settings.credentials,
            url_lifetime=self._settings.url_lifetime,
            public_url=self.url,
            dialect=self._settings.dialect,
            control=control,
            chaos=chaos,
        )


def serve(settings: ServerSettings, started: Callable[[str], None]) -> int | None:
    """Serve in the foreground; ``started`` is called with the address as soon as it listens.

    Returns the number of the signal that ended it.

    Raises:
        ConfigurationError: the address cannot be had.
    """
    server = Server(settings)
    started(server.url)
    return server.run()


def serve_orders(commands: IO[str]) -> None:
    """Serve as the first line of ``commands`` says, until SIGTERM or the end of ``commands``."""
    orders = json.loads(commands.readline())
    listener = socket.socket(fileno=orders["fd"])
    server = Server(ServerSettings.of_line(orders["settings"]), listener)
    watcher = threading.Thread(target=_stop_at_end, args=(commands, server), daemon=True)
    watcher.start()
    server.run()


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
        storage: str | None = None,
        endpoint: str | None = None,
        chaos: Mapping[str, Any] | None = None,
        services: Sequence[str] = (),
        lost_after: float | None = None,
    ) -> None:
        check_name(dialect)
        if (key is None) != (secret is None):
            raise ValueError("key and secret go together")
        check_services(services)
        _chaos(chaos)  # what is wrong with it is said here and now
        self._settings = ServerSettings(
            state_dir=state_dir,
            port=port,
            credentials=None if key is None or secret is None else Credentials(key, secret),
            url_lifetime=url_lifetime,
            dialect=dialect,
            storage=storage,
            endpoint=endpoint,
            chaos=chaos,
            services=tuple(services),
            lost_after=LOST_SECONDS if lost_after is None else lost_after,
            whole=bool(services) or lost_after is not None,
        )
        self._process: subprocess.Popen[str] | None = None
        self.url: str = ""
        self.pid: int = 0
        self.store: Store

    def __enter__(self) -> Self:
        """Start the server. Requests may be made at once: the socket listens already.

        Raises:
            ConfigurationError: the address or the bucket cannot be used.
        """
        if self._settings.bucket is not None:
            check_bucket(self._settings.bucket)
        with _listen(self._settings) as listener:
            self.store = Store(self._settings.state_dir, bucket=self._settings.bucket)
            self.url = url_of(listener)
            self._process = _start(listener.fileno(), self._settings)
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

    def set_chaos(self, rules: Mapping[str, Any] | None, *, keep: bool = False) -> None:
        """Let things go wrong as ``rules`` say from now on; None: nothing any more.

        They are as in a file. With ``keep``, those that stay as they were go on counting.

        Raises:
            ConfigurationError: with a line for each mistake; nothing is changed then.
        """
        put_rules(self.url, rules, keep=keep)

    @property
    def chaos(self) -> dict[str, Any]:
        """The rules in force, and under ``counters`` how many requests each has hit."""
        return get_rules(self.url)

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


class _Uvicorn(uvicorn.Server):
    def __init__(self, app: ASGIApp, control: Control) -> None:
        super().__init__(uvicorn_config(app, log_level="warning"))
        self._control = control
        self.signal: int | None = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logging.getLogger("uvicorn.error").addFilter(_says_more_than_broken_off)
        self._control.end_streams()
        await run_in_threadpool(self._control.close)  # what waits for a service is answered then
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as it is called
        """End in good order; uvicorn would raise the signal again before we have closed."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
        self.signal = sig


def uvicorn_config(app: ASGIApp, **logging_options: Any) -> uvicorn.Config:
    """How ``create_app``'s application is served; the options are uvicorn's, about logging."""
    return uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        http=TargetProtocol,
        access_log=False,  # it would write presigned queries
        server_header=False,
        proxy_headers=False,  # who asks, and by which scheme, is not for a header to say
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        **logging_options,
    )


def _chaos(rules: Mapping[str, Any] | None) -> Chaos:
    return Chaos() if rules is None else Chaos.from_json(rules)


def _says_more_than_broken_off(record: logging.LogRecord) -> bool:
    """That ending breaks off what is under way is no news, and nobody's fault."""
    error = record.exc_info[1] if record.exc_info else None
    is_count = str(record.msg).startswith("Cancel %s running task")
    return not is_count and not isinstance(error, asyncio.CancelledError)


def _listen(settings: ServerSettings) -> socket.socket:
    host, port = settings.host, settings.port
    try:
        return listen(host, port, allow_wildcard=settings.allow_wildcard)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"--host {host} --port {port}: {reason}", code=Code.PORT_UNUSABLE
        ) from None


def _stop_at_end(commands: IO[str], server: Server) -> None:
    commands.read()
    server.stop()


def _start(fd: int, settings: ServerSettings) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "plugin_framework.emulator"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        pass_fds=[fd],
        # Secrets of the real Datahub's: what it is to know is in its orders.
        env={name: value for name, value in os.environ.items() if not _is_setting(name)},
        # Ctrl-C is for the plugin; it still has to report to us what it made of it.
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"fd": fd, "settings": settings.as_line()}) + "\n")
    process.stdin.flush()
    return process


def _is_setting(name: str) -> bool:
    return name.upper().startswith(("DATAHUB_", "OTEL_"))


def _close(stream: IO[str] | None) -> None:
    if stream is not None:
        stream.close()
