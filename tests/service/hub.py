"""A Datahub for any number of subtasks, which remembers what it was told, in order."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

DEADLINE = 60.0
DOWN = 500


class Hub:
    """``statuses`` holds what each subtask was reported as; a result counts as 3.

    It answers 500 while it is ``down``, and refuses every status of what is ``refused``. A page of
    a proxy is answered with status ``proxy`` while that is set, and nothing while it is ``held``.
    """

    def __init__(self) -> None:
        self.statuses: dict[str, list[int]] = defaultdict(list)
        self.results: dict[str, Any] = {}
        self.refused: set[str] = set()
        self.down = False
        self.proxy: int | None = None
        self.held = threading.Lock()
        self._begun: set[str] = set()
        self._changed = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on what was told holds."""
        with self._changed:
            assert self._changed.wait_for(condition, DEADLINE), dict(self.statuses)

    def told(self, subtask_id: str, *statuses: int) -> None:
        """Wait until these are what a subtask was reported as."""
        self.wait_for(lambda: self.statuses[subtask_id] == list(statuses))

    def wait_for_call(self, path: str) -> None:
        """Wait until such a call has come, answered or not."""
        self.wait_for(lambda: path in self._begun)

    def take(self, path: str, content: dict[str, Any]) -> tuple[int, Any]:
        """Apply a call; the envelope's code and data."""
        with self._changed:
            self._begun.add(path)
            self._changed.notify_all()
        with self.held, self._changed:
            if self.down or self.proxy is not None:
                return DOWN, None
            if path == "/api/task/notify":
                known = self.statuses.get(content["task_id"], [0])
                return 0, {"status": known[-1] if known else 0}
            subtask_id = content["subtask_id"]
            if path == "/api/task/update_status":
                if subtask_id in self.refused:
                    return 1, None
                self.statuses[subtask_id].append(content["status"])
            elif path == "/api/task/result":
                self.statuses[subtask_id].append(3)
                self.results[subtask_id] = content["result"]
            self._changed.notify_all()
            return 0, None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A service that was killed: nothing to say."""


def _handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._answer(parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(self.path, json.loads(body))

        def _answer(self, path: str, content: dict[str, Any]) -> None:
            code, data = hub.take(path, content)
            said = json.dumps({"code": code, "msg": "", "data": data}).encode()
            kind, status = "application/json", 500 if code == DOWN else 200
            if hub.proxy is not None:
                said, kind, status = b"<html>no</html>", "text/html", hub.proxy
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Nobody reads it."""

    return Handler
