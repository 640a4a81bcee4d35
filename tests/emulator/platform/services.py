"""A plugin service that answers as a test says, and remembers what it was sent."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

KEY, SECRET = "plugin-key", "a secret of the tests: \u00fc"
DEADLINE = 20.0


@dataclass(frozen=True)
class Reply:
    """``hold``: answer only when this is set, and then close without a word if there is no body."""

    status: int = 200
    body: bytes | None = b'{"code": 0, "msg": "success", "data": null}'
    headers: dict[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None


OK = Reply()


def said(code: int, msg: str, *, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps({"code": code, "msg": msg, "data": None}).encode(), headers)


@dataclass(frozen=True)
class Sent:
    """What came: ``call`` is the last part of the path."""

    path: str
    content: dict[str, Any]
    at: float

    @property
    def call(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def short(self) -> tuple[str, Any, Any]:
        return self.call, self.content.get("subtask_id"), self.content.get("status")


class ScriptedService:
    """``answer`` says what is answered to a create_task or manage_task.

    Every signature is checked, and may come once. ``health`` is what its health check says.
    """

    def __init__(self, name: str = "scripted", port: int = 0) -> None:
        self.answer: Callable[[Sent], Reply] = lambda _: OK
        self.health: Reply = self.healthy(name)
        self.script = Reply(body=b"({init() {}, validateConfig() {}})")
        self.sent: list[Sent] = []
        self.unsigned: list[str] = []
        self._signatures: set[str] = set()
        self._changed = threading.Condition()
        self._server = _Server(("127.0.0.1", port), _handler_of(self))
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @staticmethod
    def healthy(*names: str) -> Reply:
        facts = [{"plugin_id": name, "version": "1.0", "uptime": 1} for name in names]
        more = {"plugins": facts} if len(facts) > 1 else {}
        return Reply(
            body=json.dumps(
                {"code": 0, "msg": "success", "status": "healthy", "plugin": facts[0], **more}
            ).encode()
        )

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def calls(self) -> list[tuple[str, Any, Any]]:
        """create_task and manage_task calls: name, subtask id, status."""
        return [one.short for one in self.sent if one.call.endswith("_task")]

    @property
    def created(self) -> list[str]:
        return [subtask_id for call, subtask_id, _ in self.calls if call == "create_task"]

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on what was sent holds."""
        with self._changed:
            assert self._changed.wait_for(condition, DEADLINE), self.sent

    def take(self, handler: BaseHTTPRequestHandler, body: bytes) -> Reply:
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query))
        content = json.loads(body) if body else query
        one = Sent(parts.path, content, time.monotonic())
        if not self._is_signed(handler, query, body):
            self.unsigned.append(handler.path)
            return said(401, "wrong signature", status=401)
        with self._changed:
            self.sent.append(one)
            self._changed.notify_all()
        if one.call == "health":
            return self.health
        return self.script if one.call == "config.js" else self.answer(one)

    def _is_signed(
        self, handler: BaseHTTPRequestHandler, query: dict[str, str], body: bytes
    ) -> bool:
        timestamp, given = handler.headers["D-TIMESTAMP"], handler.headers["D-SIGNATURE"]
        text = json.dumps(query, sort_keys=True, separators=(",", ":")) if query else ""
        message = text.encode() + body + str(timestamp).encode()
        right = hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()
        with self._changed:
            fresh = given not in self._signatures
            self._signatures.add(given)
        return bool(
            handler.headers["D-API-KEY"] == KEY
            and abs(int(timestamp) - time.time()) <= 300
            and given == right
            and fresh
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that hung up: nothing to say."""


def _handler_of(service: ScriptedService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # no connection outlives the server
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            reply = service.take(self, body)
            if reply.hold is not None:
                reply.hold.wait(DEADLINE)
            if reply.body is None:
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Nobody reads it."""

    return Handler
