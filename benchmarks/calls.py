"""The plugins' side of the emulator's measurement: many subtasks' calls out of one process.

Calls are made when they are due, whatever was answered so far; how long one took counts from then.
"""

from __future__ import annotations

import heapq
import json
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from urllib.parse import urlsplit

from plugin_framework.protocol.signing import signature_headers

CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``kind`` is what its time is kept under; a ``signed`` one is an API call."""

    kind: str
    method: str
    target: str
    body: bytes = b""
    signed: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """``etag`` is a stored object's."""

    status: int
    body: bytes
    etag: str

    @property
    def taken(self) -> bool:
        """Whether the call was acknowledged."""
        return self.status == HTTPStatus.OK and (
            not self.body or json.loads(self.body)["code"] == 0
        )


Script = Generator[Call, Answer, None]
"""Calls of one subtask in a row: each is made when the one before it is answered."""


@dataclass(slots=True)
class Connection:
    """A kept connection, and the script whose call is on it; ``due`` is monotonic seconds."""

    socket: socket.socket
    script: Script | None = None
    due: float = 0.0
    kind: str = ""
    received: bytearray = field(default_factory=bytearray)


class Calls:
    """Makes the calls of scripts. ``seconds`` holds what each kind of call took."""

    def __init__(self, url: str, key: str, secret: str) -> None:
        self._key, self._secret = key, secret
        parts = urlsplit(url)
        self._host = parts.netloc
        self.seconds: dict[str, list[float]] = {}
        self._later: list[tuple[float, int, Callable[[float], Script]]] = []
        self._numbers = count()
        self._ready: deque[tuple[float, Script]] = deque()
        self._selector = selectors.DefaultSelector()
        self._free: deque[Connection] = deque()
        self.under_way = 0
        self._address = (parts.hostname or "", parts.port or 80)
        for _ in range(CONNECTIONS):
            self._connect()

    def at(self, due: float, begin: Callable[[float], Script]) -> None:
        """Begin a script at a time in monotonic seconds, which it is handed."""
        heapq.heappush(self._later, (due, next(self._numbers), begin))

    def run(self, until: float | None = None) -> None:
        """Make calls until all are made, or until a time; then wait for those under way."""
        while self._later or self._ready or self.under_way:
            now = time.monotonic()
            if until is not None and now >= until:
                self._later.clear()
            while self._later and self._later[0][0] <= now:
                due, _, begin = heapq.heappop(self._later)
                self._ready.append((due, begin(due)))
            while self._ready and self._free:
                due, script = self._ready.popleft()
                self._send(self._free.popleft(), due, script, next(script))
            pause = min(max(self._later[0][0] - now, 0), 0.5) if self._later else 0.5
            for key, _ in self._selector.select(pause):
                self._receive(key.data)

    def close(self) -> None:
        """Close the connections."""
        for key in list(self._selector.get_map().values()):
            key.data.socket.close()
        self._selector.close()

    def _connect(self) -> None:
        one = Connection(socket.create_connection(self._address))
        one.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(one.socket, selectors.EVENT_READ, one)
        self._free.append(one)

    def _send(self, one: Connection, due: float, script: Script, call: Call) -> None:
        self.under_way += 1
        one.script, one.due, one.kind = script, due, call.kind
        lines = [f"{call.method} {call.target} HTTP/1.1", f"Host: {self._host}"]
        lines.append(f"Content-Length: {len(call.body)}")
        if call.signed:
            _, _, query = call.target.partition("?")
            given = dict(pair.split("=") for pair in query.split("&")) if query else {}
            headers = signature_headers(self._key, self._secret, given, call.body, int(time.time()))
            lines += [f"{name}: {value}" for name, value in headers.items()]
        one.socket.sendall("\r\n".join([*lines, "\r\n"]).encode() + call.body)

    def _receive(self, one: Connection) -> None:
        data = one.socket.recv(1 << 18)
        if not data:
            self._replace(one)
            return
        one.received += data
        head, end, body = one.received.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        if len(body) < int(headers["content-length"]):
            return
        self._answered(one, Answer(int(first.split()[1]), bytes(body), headers.get("etag", "")))

    def _replace(self, one: Connection) -> None:
        """Idle connections are closed after a while; one with a call on it must not be."""
        if one.script is not None:
            raise ConnectionError(f"the emulator did not answer {one.kind}")
        self._free.remove(one)
        self._selector.unregister(one.socket)
        one.socket.close()
        self._connect()

    def _answered(self, one: Connection, answer: Answer) -> None:
        script, one.script = one.script, None
        assert script is not None
        now = time.monotonic()
        self.seconds.setdefault(one.kind, []).append(now - one.due)
        one.received.clear()
        self.under_way -= 1
        try:
            self._send(one, now, script, script.send(answer))
        except StopIteration:
            self._free.append(one)
