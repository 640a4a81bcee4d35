"""A program for a network of its own: a name server that changes its mind, two stores, our engine.

Prints one JSON object: what each step gave, and how many requests came to loopback.
"""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from plugin_framework.errors import DatahubError
from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.exchange import Answer

PUBLIC, LOOPBACK, METADATA = "52.95.110.1", "127.0.0.1", "169.254.169.254"
NAME = "store.example.com"


class NameServer(socketserver.UDPServer):
    """Answers each question about an IPv4 address with the next of ``answers``, then the last."""

    allow_reuse_address = True

    def __init__(self) -> None:
        self.answers: list[list[str]] = []
        self.asked = 0
        super().__init__((LOOPBACK, 53), _Question)

    def addresses(self) -> list[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Question(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, reply = self.request
        end = data.index(b"\0", 12) + 5
        is_ipv4 = data[end - 4 : end - 2] == b"\0\1"
        assert isinstance(self.server, NameServer)
        found = self.server.addresses() if is_ipv4 else []
        # Good for 0 seconds: nobody may rely on it.
        records = [
            b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(each)
            for each in found
        ]
        header = data[:2] + struct.pack("!HHHHH", 0x8180, 1, len(records), 0, 0)
        reply.sendto(header + data[12:end] + b"".join(records), self.client_address)


class Store(ThreadingHTTPServer):
    """Says where it is, and counts."""

    daemon_threads = True

    def __init__(self, address: str) -> None:
        self.requests = 0
        super().__init__((address, 80), _Request)


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, Store)
        self.server.requests += 1
        body = str(self.server.server_address[0]).encode()
        redirects = self.path == "/redirect"
        self.send_response(307 if redirects else 200)
        if redirects:
            self.send_header("Location", "http://other.example.com/x")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Body:
    """What came."""

    def __init__(self) -> None:
        self.data = b""

    def begin(self, _answer: Answer) -> bool:
        return True

    def write(self, data: memoryview) -> None:
        self.data += data


class _Serving(Protocol):
    def serve_forever(self) -> None: ...


def fetch(engine: Engine, path: str = "/x") -> str:
    """Where the answer came from, or the error."""
    body = Body()
    try:
        engine.get(f"http://{NAME}{path}", sink=body, abort=lambda: False)
    except DatahubError as error:
        return f"{type(error).__name__}: {error}"
    return body.data.decode()


def main() -> None:
    """Try it all."""
    for command in (
        "link set lo up",
        f"addr add {PUBLIC}/32 dev lo",
        f"addr add {METADATA}/32 dev lo",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    names, public = NameServer(), Store(PUBLIC)
    inside = [Store(LOOPBACK), Store(METADATA)]
    for server in (names, public, *inside):
        _start(server)
    said: dict[str, Any] = {}
    engine = Engine()
    names.answers = [[PUBLIC], [LOOPBACK]]
    said["first"] = fetch(engine)
    said["pinned"] = fetch(engine)
    said["questions"] = names.asked
    engine._resolved.clear()  # as after a minute
    said["asked again"] = fetch(engine)
    for what, answers in {
        "metadata": [METADATA],
        "one of two": [PUBLIC, LOOPBACK],
        "the other of two": [LOOPBACK, PUBLIC],
    }.items():
        names.answers = [answers]
        said[what] = fetch(Engine())
    names.answers = [[PUBLIC], [METADATA]]
    said["redirected"] = fetch(Engine(), "/redirect")
    said["requests inside"] = sum(store.requests for store in inside)
    json.dump(said, sys.stdout)


def _start(server: _Serving) -> None:
    threading.Thread(target=server.serve_forever, daemon=True).start()


if __name__ == "__main__":
    main()
