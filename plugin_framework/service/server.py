"""The service as a process: what it binds, makes, serves and, when a signal comes, ends."""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from typing import Any

import uvicorn

from plugin_framework.engines.local import LocalEngine, engines_of
from plugin_framework.errors import Code, ConfigurationError
from plugin_framework.lifecycle.watch import TERM_TO_KILL_SECONDS
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.protocol.signing import MEMORY_SECONDS, Inbound, Seen
from plugin_framework.service.admission import Admission
from plugin_framework.service.app import Served, Service
from plugin_framework.service.backlog import Backlog
from plugin_framework.service.dispatcher import Dispatcher, Follower
from plugin_framework.service.metrics import Metrics
from plugin_framework.service.redelivery import Redelivery
from plugin_framework.service.running import Dispatching
from plugin_framework.service.turns import Entry
from plugin_framework.service.wire import EnvelopeProtocol, allow_files, most_connections
from plugin_framework.settings import Settings

BACKLOG = 128
"""Connections that wait to be accepted, and that are accepted at a time."""

QUIET_SECONDS = 60.0
"""Between two lines on connections that cannot be accepted."""

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter from the others."""

REPORT_SECONDS = 10.0
"""What is left for reports when the grace period is over, before the service ends without them."""

DRAINED = {"fail": TaskStatus.FAILED, "cancel": TaskStatus.CANCELLED}
"""What ``ON_SHUTDOWN`` makes of subtasks that run; the others are gone on with."""

CLOSE_SECONDS = 2
"""What answers under way may take at the end."""

log: logging.Logger = logging.getLogger("datahub.service")


def serve(
    names: Sequence[str],
    settings: Settings,
    *,
    host: str,
    port: int,
    request_log: bool = False,
    observers: Mapping[str, object] | None = None,
) -> None:
    """Serve these plugins until SIGTERM or SIGINT, and end what runs as ``ON_SHUTDOWN`` says.

    For the main thread. ``port`` 0 takes a free one, which the log names.

    Raises:
        ConfigurationError: the plugins, the address or the settings cannot be used.
        JournalError: the journal cannot be used.
    """
    inbound = _inbound(settings)
    allow_files()
    with ExitStack() as made:
        listener = made.enter_context(_listen(host, port, signed=inbound is not None))
        name = made.enter_context(_alone(settings))
        follower = Follower()
        metrics = _metrics()
        observing = {"service": follower, **(observers or {})}
        if metrics is not None:
            observing["metrics"] = metrics.tasks
        engines = engines_of(made, names, settings, observers=observing)
        running = _Running(engines, settings, inbound, follower, name, metrics)
        running.serve(made, listener, request_log)


def _inbound(settings: Settings) -> Inbound | None:
    if settings.api_key is None or settings.api_secret is None:
        return None
    secrets = [settings.api_secret]
    if settings.api_secret_previous is not None:
        secrets.append(settings.api_secret_previous)
    return Inbound(
        settings.api_key.get_secret_value(), [secret.get_secret_value() for secret in secrets]
    )


@contextmanager
def _listen(host: str, port: int, *, signed: bool) -> Iterator[socket.socket]:
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if not signed and not ipaddress.ip_address(address[0]).is_loopback:
            raise ConfigurationError(
                f"--host {host}: without DATAHUB_API_KEY and DATAHUB_API_SECRET nobody signs, so"
                " only a loopback address such as 127.0.0.1 is served",
                code=Code.HOST_EXPOSED,
            )
        listener = socket.create_server(address, family=family, backlog=BACKLOG)
        # Connections inherit it. asyncio sets it only on sockets that say which protocol they are
        # of, and an answer, which is two writes, would wait 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"--host {host} --port {port}: {reason}", code=Code.PORT_UNUSABLE
        ) from None
    with listener:
        yield listener


@contextmanager
def _alone(settings: Settings) -> Iterator[str]:
    """Hold the state folder: two services would run each other's queue.

    Yields a name that the service of this folder has, and no other.
    """
    path = settings.state_dir / "service.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"DATAHUB_STATE_DIR: {settings.state_dir} cannot be written ({error.strerror})",
            code=Code.FOLDER_UNUSABLE,
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise ConfigurationError(
            f"DATAHUB_STATE_DIR: another service uses {settings.state_dir}: give each its own",
            code=Code.FOLDER_IN_USE,
        ) from None
    try:
        yield _name_in(fd)
    finally:
        os.close(fd)


def _name_in(fd: int) -> str:
    name = os.pread(fd, 64, 0).decode("ascii", "replace").strip()
    if not name:
        name = uuid.uuid4().hex
        os.pwrite(fd, f"{name}\n".encode(), 0)
        os.fsync(fd)
    return name


class _Running:
    """All parts of a service, put together."""

    def __init__(
        self,
        engines: dict[str, LocalEngine],
        settings: Settings,
        inbound: Inbound | None,
        follower: Follower,
        name: str,
        metrics: Metrics | None,
    ) -> None:
        self._engines = engines
        self._settings = settings
        self._inbound = inbound
        self._journal = next(iter(engines.values())).journal
        self._metrics = metrics
        if metrics is not None:
            metrics.watch(self._journal.backlog)
        self._redelivery = Redelivery(settings, self._journal, is_running=self._is_running)
        self._journal.queue.forget_reasons()
        is_local = settings.engine == "local"
        commands: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        self._backlog = follower.backlog = Backlog(
            self._journal.queue,
            engines,
            limit=settings.max_concurrency + settings.max_queue,
            drained=DRAINED.get(settings.on_shutdown) if is_local else None,
            on_ended=self._redelivery.kick,
            told=None if is_local else commands.put,
        )
        self._dispatcher = self._here() if is_local else self._elsewhere(commands, name)
        self._ending = threading.Thread()

    def _here(self) -> Dispatching:
        slots = self._settings.max_concurrency
        return Dispatcher(self._backlog, self._engines, slots=slots, on_over=self._over)

    def _elsewhere(self, commands: queue.SimpleQueue[Entry], name: str) -> Dispatching:
        from plugin_framework.service.remote_dispatcher import remote_dispatcher  # noqa: PLC0415 - for many machines alone

        return remote_dispatcher(
            self._backlog,
            self._engines,
            self._settings,
            commands=commands,
            service=name,
            on_over=self._over,
        )

    def serve(self, made: ExitStack, listener: socket.socket, request_log: bool) -> None:  # noqa: FBT001 - one caller, above
        plugins = {name: Served.of(engine) for name, engine in self._engines.items()}
        for served in plugins.values():
            made.enter_context(closing(served.checks))
        seen = Seen()
        now = time.time()
        self._journal.queue.forget_calls(now - MEMORY_SECONDS)
        kept = self._journal.queue.calls()
        seen.remember((number, max(now - at, 0)) for number, at in kept)
        service = Service(
            plugins,
            self._backlog,
            Admission(self._inbound, seen),
            self._metrics,
            outlook=self._dispatcher.outlook,
        )
        server = _Server(
            uvicorn.Config(
                service.app(request_log=request_log),
                http=EnvelopeProtocol,
                # asyncio accepts that many before it looks at any of them.
                backlog=min(BACKLOG, most_connections()),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=65,
                timeout_graceful_shutdown=CLOSE_SECONDS,
            )
        )
        # The thread that writes wakes for moments, and need not wait for the one that reads.
        sys.setswitchinterval(SWITCH_SECONDS)
        self._dispatcher.start()
        self._redelivery.start()
        try:
            asyncio.run(self._listen(server, listener))
        finally:
            self._redelivery.close(CLOSE_SECONDS)
            self._backlog.close()

    async def _listen(self, server: uvicorn.Server, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_AcceptErrors())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, server, number)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log.info("serving %s on http://%s:%d", ", ".join(self._engines), shown, port)
        if self._inbound is None:
            log.warning(
                "requests are not signed, and served to this machine alone: set DATAHUB_API_KEY"
                " and DATAHUB_API_SECRET to change that"
            )
        await server.serve(sockets=[listener])

    def _end(self, server: uvicorn.Server, number: int) -> None:
        """End what runs, and answer meanwhile; at a second signal without grace."""
        first = not self._backlog.draining
        self._backlog.draining = True
        threading.Thread(
            target=self._dispatcher.shut_down, args=(number,), daemon=True, name="shutdown"
        ).start()
        if first:
            log.info("%s: no more subtasks are taken", signal.Signals(number).name)
            threading.Thread(
                target=self._wait, args=(server,), daemon=True, name="draining"
            ).start()

    def _wait(self, server: uvicorn.Server) -> None:
        longest = self._settings.grace_seconds + 2 * TERM_TO_KILL_SECONDS + REPORT_SECONDS
        if not self._dispatcher.wait(longest):
            log.warning("subtasks that have not ended go on at the next start")
        server.should_exit = True

    def _is_running(self, subtask_id: str) -> bool:
        return self._dispatcher.runs(subtask_id)

    def _over(self, status: TaskStatus, delivered: bool) -> None:  # noqa: FBT001 - Dispatcher's contract
        if self._metrics is not None:
            self._metrics.ended(status)
        if not delivered:
            self._redelivery.kick()


class _AcceptErrors:
    """Says once in a while that connections cannot be accepted, and all else as it comes."""

    def __init__(self) -> None:
        self._said = -QUIET_SECONDS

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take an error; asyncio's contract."""
        if not str(context.get("message")).startswith("socket.accept()"):
            loop.default_exception_handler(context)
        elif loop.time() - self._said >= QUIET_SECONDS:
            self._said = loop.time()
            log.error("connections cannot be accepted: %s", context.get("exception"))


class _Server(uvicorn.Server):
    """Leaves signals alone: what they mean is decided above."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]  # it is a context manager too
        """Capture none; uvicorn's contract."""
        return nullcontext()


def _metrics() -> Metrics | None:
    try:
        return Metrics()
    except ImportError:
        log.debug("no /metrics: install the extra telemetry for it")
        return None
