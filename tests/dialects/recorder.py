"""A server that notes requests as they came, directly or as a proxy."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_ANSWER: Final = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n'
_TUNNEL: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Recorder:
    """Listens on loopback until the ``with`` block ends.

    With ``tls`` it speaks TLS: at once, or once a client has asked it for a tunnel, of which it is
    then both the proxy and the far end. ``names`` are the headers' names by method.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, proxy: bool = False) -> None:
        self.lines: list[bytes] = []
        self.hosts: set[bytes] = set()
        self.names: dict[bytes, set[bytes]] = {b"GET": set(), b"PUT": set()}
        self.connections = 0
        self._tls = tls
        self._proxy = proxy
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for sock in (self._listener, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                self._sockets.append(sock)
                thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError), sock:
            if self._tls is None or self._proxy:
                self._answer(sock)
            if self._tls is not None:
                with self._tls.wrap_socket(sock, server_side=True) as inner:
                    self._answer(inner)

    def _answer(self, sock: socket.socket) -> None:
        """Answer all requests; return at a CONNECT, the tunnel being open then."""
        received = b""
        while True:
            while b"\r\n\r\n" not in received:
                data = sock.recv(65536)
                if not data:
                    return
                received += data
            head, _, received = received.partition(b"\r\n\r\n")
            if head.startswith(b"CONNECT "):
                sock.sendall(_TUNNEL)
                return
            length = _LENGTH.search(head + b"\r\n")
            while length is not None and len(received) < int(length[1]):
                received += sock.recv(65536)
            received = received[int(length[1]) :] if length else received
            self._note(head)
            sock.sendall(_ANSWER)

    def _note(self, head: bytes) -> None:
        line, *fields = head.split(b"\r\n")
        self.lines.append(line)
        self.names[line[:3]].update(field.partition(b":")[0] for field in fields)
        self.hosts.update(field for field in fields if field.startswith(b"Host:"))
