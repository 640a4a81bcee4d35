"""HTTP/1.1 over raw sockets, for the strict judge.

`http.server` folds leading slashes of a request target and says nothing of bare line feeds; a
judge of presigned URLs must see the request line and the headers as they were sent.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

BLOCK: Final = 1 << 20
LONGEST_LINE: Final = 1 << 16
REASONS: Final = {
    200: "OK",
    206: "Partial Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class MalformedRequest(Exception):  # noqa: N818 - the request is at fault, not the judge
    """What came in is no HTTP/1.1 request; the text says why."""


class Gone(Exception):  # noqa: N818 - an ordinary end of a connection
    """The client closed, or the connection was reset on purpose."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request head as it was sent: nothing decoded, folded or joined."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def length(self) -> int | None:
        """Content-Length, where there is exactly one and it is a number."""
        lengths = self.values("Content-Length")
        return int(lengths[0]) if len(lengths) == 1 and re.fullmatch("[0-9]+", lengths[0]) else None


def framing_faults(request: Request) -> Iterator[str]:
    """Faults that leave unknown where the request ends: the connection must close after them."""
    if request.values("Transfer-Encoding"):
        yield f"{request.method} with Transfer-Encoding"
    elif request.values("Content-Length"):
        if request.length is None:
            yield f"{request.method} with a malformed or doubled Content-Length"
    elif request.method in {"POST", "PUT"}:
        yield f"{request.method} without Content-Length"
    if request.values("Expect"):
        yield f"{request.method} with an Expect header"


def head_faults(request: Request, host: str, allowed: frozenset[str]) -> Iterator[str]:
    """Faults of a well-framed head. `allowed`: header names, in lower case."""
    if request.version != "HTTP/1.1":
        yield f"{request.version} in place of HTTP/1.1"
    if request.values("Host") != [host]:
        yield "Host is not exactly the address of the server"
    if request.method == "GET" and request.length:
        yield "GET with a body"
    for name in dict.fromkeys(name for name, _ in request.headers):
        if name.lower() not in allowed:
            yield f"header {name} is not foreseen"


class Exchange:
    """One request and the means to answer it."""

    def __init__(self, connection: socket.socket, stream: BinaryIO, request: Request) -> None:
        self.request = request
        self._connection = connection
        self._stream = stream

    def chunks(self, limit: int | None = None) -> Iterator[bytes]:
        """Yield the body, at most `limit` bytes. Raises Gone where it ends too early."""
        left = self.request.length or 0
        left = left if limit is None else min(left, limit)
        while left:
            chunk = self._stream.read(min(left, BLOCK))
            if not chunk:
                raise Gone
            left -= len(chunk)
            yield chunk

    def answer(
        self,
        status: int,
        headers: Mapping[str, str],
        content: bytes | Iterable[bytes],
        length: int | None = None,
    ) -> None:
        """Answer; `length` is needed where the content is no bytes."""
        if isinstance(content, bytes):
            content, length = [content], len(content)
        head = [f"HTTP/1.1 {status} {REASONS[status]}", f"Content-Length: {length}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        self._connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
        for chunk in content:
            self._connection.sendall(chunk)

    def refuse(self, status: int, content: bytes = b"") -> None:
        """Answer and close: where the request ends is not known, or not wanted. Raises Gone."""
        self.answer(status, {"Connection": "close"}, content)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
            self._connection.settimeout(1)  # unread input would turn the close into a reset
            while self._connection.recv(BLOCK):
                pass
        raise Gone

    def reset(self) -> None:
        """End the connection with RST."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone

    def hang(self) -> None:
        """Answer nothing until the client closes or the listener does."""
        while self._stream.read(BLOCK):
            pass
        raise Gone


class Listener:
    """A server on 127.0.0.1, a thread for every connection; reopened, it has the same port."""

    def __init__(self, serve: Callable[[Exchange], None], complain: Callable[[str], None]) -> None:
        self._serve = serve
        self._complain = complain
        self._socket: socket.socket | None = None
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self.port = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def open(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, args=[self._socket], daemon=True).start()

    def close(self) -> None:
        """Refuse new connections, break those there are, wait for their threads."""
        if self._socket is None:
            return
        with self._lock:
            listening, self._socket = self._socket, None
            open_now = dict(self._connections)
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)  # close alone does not wake accept
        listening.close()
        for connection, thread in open_now.items():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(10)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._talk, args=[connection], daemon=True)
            with self._lock:
                if self._socket is not listening:
                    connection.close()
                    return
                self._connections[connection] = thread
                thread.start()

    def _talk(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = connection.makefile("rb")
        try:
            while request := read_head(stream):
                self._serve(Exchange(connection, stream, request))
                if "close" in request.values("Connection"):
                    return
        except MalformedRequest as error:
            self._complain(f"malformed request: {error}")
        except (Gone, OSError):
            pass
        except Exception as error:  # noqa: BLE001 - a fault of the judge must show in the test
            self._complain(f"the judge itself failed: {error!r}")
        finally:
            with self._lock:
                del self._connections[connection]
            stream.close()
            connection.close()


def read_head(stream: BinaryIO) -> Request | None:
    """Return the next request head, None at the end. Raises MalformedRequest, or Gone midway."""
    first = stream.readline(LONGEST_LINE)
    if not first:
        return None
    match = re.fullmatch(rb"([A-Z]+) ([!-~]+) (HTTP/[0-9.]+)\r\n", first)
    if not match:
        raise MalformedRequest("request line")
    method, target, version = (part.decode("ascii") for part in match.groups())
    return Request(method, target, version, tuple(_headers(stream)))


def _headers(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    while (line := stream.readline(LONGEST_LINE)) != b"\r\n":
        if not line:
            raise Gone
        match = re.fullmatch(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*\r\n", line)
        if not match:
            raise MalformedRequest("header line")
        yield match[1].decode("ascii"), match[2].decode("latin-1")
