"""The real service as a process, and a caller that signs by PROTOCOL.md, 2.1, and nothing else."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).with_name("datahub-plugin"))
PLUGINS = "tests.service.plugins"
KEY, SECRET = "plugin-key", "a secret of ours: \u00fc"
DEADLINE = 60.0
SIGNED = {"DATAHUB_API_KEY": KEY, "DATAHUB_API_SECRET": SECRET}


def signed(
    query: Mapping[str, str], body: bytes, timestamp: int | str, *, secret: str = SECRET
) -> dict[str, str]:
    """The three headers, made by hand."""
    given = json.dumps(query, sort_keys=True, separators=(",", ":")).encode() if query else b""
    message = given + body + str(timestamp).encode()
    return {
        "D-API-KEY": KEY,
        "D-TIMESTAMP": str(timestamp),
        "D-SIGNATURE": hmac.new(secret.encode(), message, hashlib.sha256).hexdigest(),
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; ``body`` is its JSON."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> int:
        """The envelope's."""
        assert {"code", "msg"} <= self.body.keys()
        return int(self.body["code"])

    @property
    def fate(self) -> tuple[int, int]:
        """HTTP status and code."""
        return self.status, self.code


class Caller:
    """Datahub, as a service meets it: no two of its requests are the same."""

    def __init__(self, url: str, *, secret: str | None = SECRET) -> None:
        parts = urlsplit(url)
        self.address = (str(parts.hostname), int(parts.port or 0))
        self._secret = secret
        self._used: set[str] = set()

    def create(self, subtask_id: str, config: Any = None, **more: Any) -> Answer:
        body = {"subtask_id": subtask_id, "config": {} if config is None else config, **more}
        return self.post("/api/plugin/create_task", body)

    def manage(self, subtask_id: str, status: int, **more: Any) -> Answer:
        body = {"subtask_id": subtask_id, "status": status, **more}
        return self.post("/api/plugin/manage_task", body)

    def health(self) -> Answer:
        return self.get("/api/plugin/health", {"timestamp": "1763382017"})

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"}
        return self.send("POST", path, raw, {**kind, **self.headers({}, raw), **(headers or {})})

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Answer:
        given = query or {}
        target = path + ("?" + "&".join(f"{k}={v}" for k, v in given.items()) if given else "")
        return self.send("GET", target, b"", self.headers(given, b""))

    def headers(self, query: Mapping[str, str], body: bytes) -> dict[str, str]:
        """A signature that was not used yet: two equal requests in one second have the same."""
        if self._secret is None:
            return {}
        timestamp = int(time.time())
        while True:
            headers = signed(query, body, timestamp, secret=self._secret)
            if headers["D-SIGNATURE"] not in self._used:
                self._used.add(headers["D-SIGNATURE"])
                return headers
            timestamp += 1

    def send(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection(*self.address, timeout=DEADLINE)
        try:
            connection.request(method, target, body or None, dict(headers))
            answer = connection.getresponse()
            return Answer(
                answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
            )
        finally:
            connection.close()

    def raw(self, data: bytes, *, seconds: float = DEADLINE) -> bytes:
        """Status and body of the first answer to these bytes."""
        with socket.create_connection(self.address, timeout=seconds) as connection:
            connection.sendall(data)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return f"{answer.status} ".encode() + answer.read()


class ServiceProcess:
    """``datahub-plugin serve`` on a free port of loopback; killed at the end if it still lives."""

    def __init__(
        self,
        state_dir: Path,
        datahub: str,
        *names: str,
        secret: str | None = SECRET,
        port: str = "0",
        **env: str,
    ) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DATAHUB_")}
        self._env = {
            **clean,
            "DATAHUB_BASE_URL": datahub,
            "DATAHUB_STATE_DIR": str(state_dir),
            "DATAHUB_LOG_FORMAT": "json",
            "DATAHUB_GRACE_SECONDS": "5",
            **(SIGNED if secret else {}),
            **env,
        }
        # Capitals begin the names of plugins; the rest are options.
        self._arguments = [f"{PLUGINS}:{name}" if name[0].isupper() else name for name in names]
        self._port = port
        self._secret = secret
        self.lines: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._over = False

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [COMMAND, "serve", *self._arguments, "--port", self._port],
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            said = self.wait_for_line(" on http://")
        except BaseException:
            self.__exit__()
            raise
        self.url = said["message"].rpartition(" ")[2]
        self.call = Caller(self.url, secret=self._secret)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(DEADLINE)
        assert self.process.stderr
        self.process.stderr.close()

    def wait_for_line(self, text: str) -> dict[str, Any]:
        """A log line with this in its message."""
        with self._changed:
            self._changed.wait_for(lambda: self._found(text) or self._over, DEADLINE)
            found = self._found(text)
        assert found, self.lines
        return found[0]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it in good order; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.wait()

    def _found(self, text: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if text in line["message"]]

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            said = json.loads(line) if line.startswith("{") else {"message": line}
            with self._changed:
                self.lines.append(said)
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()
