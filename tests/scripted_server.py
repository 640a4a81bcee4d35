"""A server on a raw socket that does what a script says: right answers, and every wrong one.

    with ScriptedServer(reset(), status(503), then=ok({"status": 1})) as server:
        DatahubClient(server.url).notify("task")
    assert len(server.requests) == 3

Each step takes one whole request. When the script is over, ``then`` takes all that follow.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import trustme

Step = Callable[["Exchange"], bool]
"""Answers one request; returns whether the connection stays open for another."""

_HURRY = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came over the wire; ``connection`` counts from 1."""

    connection: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The value of the one header of that name; None if there is none."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a step works with. ``stopped`` is set when the server closes."""

    request: Request
    socket: socket.socket
    stopped: threading.Event

    def peer_is_gone(self, seconds: float) -> bool:
        """Wait for the other side to close the connection."""
        self.socket.settimeout(seconds)
        try:
            return not self.socket.recv(1)
        except TimeoutError:
            return False
        except OSError:
            return True


def answer(
    body: bytes, *, status: int = 200, headers: Iterable[tuple[str, str]] = (), keep: bool = True
) -> Step:
    """A well-formed HTTP answer."""
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not keep:
        lines.append("Connection: close")
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body, keep=keep)


def envelope(
    code: int,
    msg: str = "",
    data: Any = None,
    *,
    status: int = 200,
    headers: Iterable[tuple[str, str]] = (),
) -> Step:
    """An answer in Datahub's envelope."""
    body = json.dumps({"code": code, "msg": msg, "data": data}).encode()
    return answer(body, status=status, headers=headers)


def ok(data: Any = None) -> Step:
    return envelope(0, "success", data)


def status(code: int, headers: Iterable[tuple[str, str]] = ()) -> Step:
    """An HTTP status with a body that is no envelope."""
    return answer(b"<html>a proxy's page</html>", status=code, headers=headers)


def raw(data: bytes, *, keep: bool = False) -> Step:
    """These bytes, whatever they are."""

    def step(exchange: Exchange) -> bool:
        exchange.socket.sendall(data)
        return keep

    return step


def reset() -> Step:
    """Take the request, and reset the connection."""

    def step(exchange: Exchange) -> bool:
        exchange.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HURRY)
        return False

    return step


def hang_up() -> Step:
    """Take the request, and close the connection."""
    return raw(b"")


def then_close(step: Step) -> Step:
    """Do the step, then close the kept connection without having said so."""

    def closing(exchange: Exchange) -> bool:
        step(exchange)
        return False

    return closing


def silence() -> Step:
    """Take the request, and say nothing until the client has gone."""

    def step(exchange: Exchange) -> bool:
        while not exchange.stopped.is_set() and not exchange.peer_is_gone(0.1):
            pass
        return False

    return step


def drip(start: bytes, *, interval: float = 0.05) -> Step:
    """Send the start, then one byte of white space or header after another, for ever."""

    def step(exchange: Exchange) -> bool:
        exchange.socket.sendall(start)
        while not exchange.stopped.wait(interval):
            exchange.socket.sendall(b" ")
        return False

    return step


@dataclass(slots=True)
class _Script:
    steps: list[Step]
    then: Step
    requests: list[Request] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, request: Request) -> Step:
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
            return self.steps.pop(0) if self.steps else self.then


class ScriptedServer:
    """Serves on loopback from ``with`` on; the port is reserved from the start.

    ``requests`` holds what came, in order; ``connections`` counts the connections taken.
    """

    def __init__(self, *script: Step, then: Step | None = None, tls: Path | None = None) -> None:
        self._script = _Script(list(script), then or ok())
        self._context = tls_context(tls) if tls else None
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", 0))
        self.connections = 0
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}"

    @property
    def requests(self) -> list[Request]:
        with self._script.changed:
            return list(self._script.requests)

    def wait_for_requests(self, count: int, seconds: float = 10.0) -> list[Request]:
        """Wait until that many requests have come."""
        with self._script.changed:
            came = self._script.changed.wait_for(
                lambda: len(self._script.requests) >= count, seconds
            )
        assert came, f"{len(self.requests)} of {count} requests came"
        return self.requests

    def __enter__(self) -> Self:
        self._listener.listen(64)
        self._listener.settimeout(0.05)
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            self._start(self._serve, connection, self.connections)

    def _serve(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError), connection:
            connection.settimeout(10)
            with self._secured(connection) as secured:
                reader = _Reader(secured, self._stopped)
                while (request := reader.request(number)) is not None:
                    secured.settimeout(10)
                    step = self._script.take(request)
                    if not step(Exchange(request, secured, self._stopped)):
                        break

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self._context is None:
            return connection
        return self._context.wrap_socket(connection, server_side=True)


class _Reader:
    """Reads whole requests; notices within a moment when the server stops."""

    def __init__(self, connection: socket.socket, stopped: threading.Event) -> None:
        self._connection = connection
        self._stopped = stopped
        self._buffer = b""

    def request(self, connection: int) -> Request | None:
        if (head := self._until(b"\r\n\r\n")) is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = [line.partition(":") for line in lines]
        headers = tuple((name, value.strip()) for name, _, value in pairs)
        lengths = [int(value) for name, value in headers if name.lower() == "content-length"]
        body = self._exactly(sum(lengths))
        return None if body is None else Request(connection, method, target, headers, body)

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._buffer:
            if not self._more():
                return None
        head, _, self._buffer = self._buffer.partition(mark)
        return head

    def _exactly(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            if not self._more():
                return None
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return body

    def _more(self) -> bool:
        self._connection.settimeout(0.05)
        while not self._stopped.is_set():
            try:
                data = self._connection.recv(64 * 1024)
            except TimeoutError:
                continue
            self._buffer += data
            return bool(data)
        return False


def closed_port() -> int:
    """A loopback port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_certificate(folder: Path, name: str = "localhost") -> Path:
    """Write a certificate for ``name``, its key and its authority into one file, in PEM form."""
    authority = trustme.CA()
    certificate = authority.issue_cert(name)
    both = folder / "certificate.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(both)
    authority.cert_pem.write_to_path(both, append=True)
    return both


def tls_context(certificate: Path) -> ssl.SSLContext:
    """What a server with that certificate and key, as ``make_certificate`` writes them, needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
