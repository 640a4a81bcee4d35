"""An object store that misbehaves on demand, on raw sockets: what it saw is what was sent."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

MIB = 1024 * 1024
REASONS = {200: "OK", 206: "Partial Content", 403: "Forbidden", 503: "Slow Down"}


class Content(Protocol):
    """The bytes of an object."""

    def __len__(self) -> int: ...
    def __getitem__(self, window: slice) -> bytes: ...


class Zeros:
    """Very many zeros in no memory."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._block = bytes(MIB)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, window: slice) -> bytes:
        return self._block[: len(range(*window.indices(self._size)))]


@dataclass
class Stored:
    content: Content
    etag: str | None = '"d41d8-2"'
    headers: Mapping[str, str] = field(default_factory=dict)
    accepts_ranges: bool = True


@dataclass
class Request:
    line: str
    headers: list[tuple[str, str]]
    peer: tuple[str, int]
    body: bytes = b""

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def key(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


class Dialogue:
    """One request and what is to be said to it; a fault gets this and does as it likes."""

    def __init__(self, server: StorageServer, sock: socket.socket, request: Request) -> None:
        self.server = server
        self.sock = sock
        self.request = request
        self.rest = b""
        self.closed = False

    def read_body(self) -> bytes:
        length = int(self.request.header("content-length") or 0)
        if not self.server.keeps_bodies:
            self.skip(length)
            return b""
        body = bytearray(self.rest)
        while len(body) < length:
            body += self._receive(length - len(body))
        self.rest = b""
        self.request.body = bytes(body)
        return self.request.body

    def skip(self, count: int) -> None:
        """Read that much of the body, and forget it."""
        left = count - len(self.rest)
        self.rest = b""
        while left > 0:
            left -= len(self._receive(left))

    def _receive(self, most: int) -> bytes:
        data = self.sock.recv(min(most, MIB))
        if not data:
            raise ConnectionError
        return data

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def head(self, status: int, headers: Mapping[str, str | int]) -> None:
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def reply(
        self, status: int, headers: Mapping[str, str | int] | None = None, body: bytes = b""
    ) -> None:
        self.head(status, {"Content-Length": len(body), **(headers or {})})
        self.send(body)

    def close(self) -> None:
        self.closed = True

    def reset(self) -> None:
        """End the connection with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closed = True

    def serve(self) -> None:
        """Answer as a good store would."""
        if self.request.method == "PUT":
            self.take()
        else:
            self.give()

    def take(self) -> None:
        body = self.read_body()
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        self.server.objects[self.request.key] = Stored(body, etag)
        self.reply(200, {"ETag": etag})

    def give(self) -> None:
        stored = self.server.objects[self.request.key]
        total = len(stored.content)
        headers: dict[str, str | int] = dict(stored.headers)
        if stored.etag:
            headers["ETag"] = stored.etag
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.request.header("range") or "")
        expected = self.request.header("if-match")
        if expected is not None and expected != stored.etag:
            self.reply(412)
        elif wanted is None or not stored.accepts_ranges:
            self.head(200, {**headers, "Content-Length": total})
            self.stream(stored.content, 0, total)
        elif int(wanted[1]) >= total:
            self.reply(416, {"Content-Range": f"bytes */{total}"})
        else:
            start, end = int(wanted[1]), min(int(wanted[2] or total), total - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{total}"
            self.head(206, {**headers, "Content-Length": end + 1 - start})
            self.stream(stored.content, start, end + 1)

    def stream(self, content: Content, start: int, end: int) -> None:
        for offset in range(start, end, MIB):
            self.send(content[offset : min(offset + MIB, end)])


Fault = Callable[[Dialogue], None]


class StorageServer:
    """Serves until the ``with`` block ends. ``requests`` are in the order they began."""

    def __init__(self, *, certificate: Path | None = None, host: str = "127.0.0.1") -> None:
        self.objects: dict[str, Stored] = {}
        self.requests: list[Request] = []
        self.keeps_bodies = True
        self.released = threading.Event()
        self.stalled = threading.Event()
        self._faults: list[tuple[str, str, deque[Fault]]] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._tls = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=64)
        self._sockets: set[socket.socket] = set()
        self.port = self._listener.getsockname()[1]
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._sockets:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def script(self, method: str, text: str, *faults: Fault) -> None:
        """Have the next requests of ``method`` with ``text`` in their target meet ``faults``."""
        self._faults.append((method, text, deque(faults)))

    def of(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, peer = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._sockets.add(sock)
                self._start(self._serve, sock, peer)

    def _serve(self, raw: socket.socket, peer: tuple[str, int]) -> None:
        sock = raw
        with suppress(OSError):
            if self._tls:
                sock = self._tls.wrap_socket(raw, server_side=True)
            while self._one(sock, peer):
                pass
        with self._lock:
            self._sockets.discard(raw)
        sock.close()
        raw.close()

    def _one(self, sock: socket.socket, peer: tuple[str, int]) -> bool:
        received = b""
        while b"\r\n\r\n" not in received:
            data = sock.recv(65536)
            if not data:
                return False
            received += data
        head, _, rest = received.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        pairs = [field.partition(":") for field in fields]
        request = Request(line, [(name, value.strip()) for name, _, value in pairs], peer)
        dialogue = Dialogue(self, sock, request)
        dialogue.rest = rest
        with self._lock:
            self.requests.append(request)
            fault = self._fault(request)
        fault(dialogue)
        return not dialogue.closed

    def _fault(self, request: Request) -> Fault:
        for method, text, faults in self._faults:
            if faults and request.method == method and text in request.target:
                return faults.popleft()
        return Dialogue.serve


def answers(
    status: int, headers: Mapping[str, str | int] | None = None, body: bytes = b""
) -> Fault:
    """Read the body and answer that."""

    def fault(dialogue: Dialogue) -> None:
        dialogue.read_body()
        dialogue.reply(status, headers, body)

    return fault


def refuses(status: int, code: str, message: str = "") -> Fault:
    """Answer with an S3 error document."""
    document = f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>R-17</RequestId>"
    return answers(status, {"Content-Type": "application/xml"}, f"{document}</Error>".encode())


def redirects(location: str, status: int = 307) -> Fault:
    return answers(status, {"Location": location})


def resets_in_body(dialogue: Dialogue) -> None:
    """Take half of what is sent, or give half of what is asked for, then reset."""
    if dialogue.request.method == "PUT":
        dialogue.skip(int(dialogue.request.header("content-length") or 0) // 2)
    dialogue.reset()


def answers_early(dialogue: Dialogue) -> None:
    """Take nothing of what is sent, and say that it is stored."""
    dialogue.head(200, {"ETag": '"early"', "Content-Length": 0, "Connection": "close"})
    dialogue.server.released.wait(60)  # closed now, what was sent would break the connection
    dialogue.close()


def cuts_short(count: int) -> Fault:
    """Promise the whole range, send ``count`` bytes, close."""

    def fault(dialogue: Dialogue) -> None:
        stored = dialogue.server.objects[dialogue.request.key]
        numbers = re.findall(r"\d+", dialogue.request.header("range") or "")
        start, end = int(numbers[0]), min(int(numbers[1]), len(stored.content) - 1)
        dialogue.head(
            206,
            {
                "Content-Length": end + 1 - start,
                "Content-Range": f"bytes {start}-{end}/{len(stored.content)}",
                "ETag": stored.etag or "",
            },
        )
        dialogue.send(stored.content[start : start + count])
        dialogue.close()

    return fault


def tunnels_to(port: int) -> Fault:
    """Be a CONNECT proxy, for one connection to a port of this machine."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def fault(dialogue: Dialogue) -> None:
        dialogue.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as onward:
            back = threading.Thread(target=pump, args=(onward, dialogue.sock))
            back.start()
            pump(dialogue.sock, onward)
            back.join()
        dialogue.close()

    return fault


def stalls(dialogue: Dialogue) -> None:
    """Say nothing until the server is let go on."""
    dialogue.server.stalled.set()
    dialogue.server.released.wait(60)
    dialogue.close()


def changes_to(stored: Stored) -> Fault:
    """Replace the object, then answer."""

    def fault(dialogue: Dialogue) -> None:
        dialogue.server.objects[dialogue.request.key] = stored
        dialogue.serve()

    return fault
