"""What the page and the command do: calls to ``/local/``, and a stream that is read as it comes."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from tests.emulator.calling import Answer, send

MARK = ("X-Datahub-Local", "1")
DEADLINE = 30.0


@dataclass(frozen=True)
class Local:
    """The emulator's own API at ``url``."""

    url: str

    def get(self, path: str, *headers: tuple[str, str], **query: Any) -> Answer:
        return send("GET", self._at(path, query), None, headers)

    def json(self, path: str, **query: Any) -> Any:
        answer = self.get(path, **query)
        assert answer.status == 200, answer
        return answer.json

    def send(self, method: str, path: str, body: Any = None, **query: Any) -> Answer:
        sent = b"" if body is None else body if isinstance(body, bytes) else dumped(body)
        return send(method, self._at(path, query), sent, [MARK])

    def post(self, path: str, body: Any = None) -> Answer:
        return self.send("POST", path, body)

    def refusal(self, answer: Answer) -> tuple[int, str]:
        """The status, and the one line that says why."""
        assert set(answer.json) == {"error"}
        line: str = answer.json["error"]
        assert line
        assert "\n" not in line
        return answer.status, line

    def _at(self, path: str, query: Mapping[str, Any]) -> str:
        named = {name.rstrip("_"): value for name, value in query.items()}
        return f"{self.url}/local/{path}" + (f"?{urlencode(named)}" if named else "")


def dumped(body: Any) -> bytes:
    return json.dumps(body).encode()


def task(subtask_id: str, rest: str = "") -> str:
    return f"tasks/{quote(subtask_id, safe='')}{rest}"


@dataclass(frozen=True)
class Message:
    name: str
    data: Any


class Stream:
    """A page's stream; a thread reads it to its end."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, **query: Any) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=DEADLINE)
        text = f"?{urlencode(query)}" if query else ""
        self._connection.request("GET", f"/local/stream{text}", headers=dict(headers or {}))
        self._socket = self._connection.sock
        self.response = self._connection.getresponse()
        self.messages: queue.Queue[Message | None] = queue.Queue()
        self.place = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave, if the server has not ended it already."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE)
        self.response.close()
        self._socket.close()

    def _read(self) -> None:
        name = data = ""
        try:
            for raw in self.response:
                field, _, value = raw.decode().rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data = value
                elif field == "id":
                    self.place = value
                elif not field and name:
                    self.messages.put(Message(name, json.loads(data)))
                    name = data = ""
        except (OSError, ValueError, http.client.HTTPException):
            pass
        self.messages.put(None)

    def until(self, name: str) -> Iterator[Any]:
        """The data of the messages of that name; ends with the stream."""
        deadline = time.monotonic() + DEADLINE
        while (message := self.messages.get(timeout=deadline - time.monotonic())) is not None:
            if message.name == name:
                yield message.data

    def next(self, name: str) -> Any:
        return next(self.until(name))
