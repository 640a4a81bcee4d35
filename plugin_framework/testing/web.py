"""Serves an emulated Datahub from a thread of this process, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plugin_framework.emulator.listening import listen, url_of
from plugin_framework.emulator.server import uvicorn_config


@dataclass(frozen=True, slots=True)
class Request:
    """A call of Datahub's API, without what authenticated it; ``json`` is None where it has none.

    Transfers are no calls of the API.
    """

    method: str
    path: str
    query: Mapping[str, str]
    json: Any

    @property
    def subtask_id(self) -> str | None:
        """The subtask that it is about, where it says so."""
        given = self.json if isinstance(self.json, Mapping) else self.query
        return given.get("subtask_id") or given.get("task_id")


class Web:
    """One address on loopback, for one application after the other.

    Attributes:
        url: the address.
        requests: what the application in place was asked, oldest first.
    """

    def __init__(self) -> None:
        self._app: ASGIApp = _nobody
        self.requests: list[Request] = []
        self._listener = listen("127.0.0.1", 0)
        self.url: str = url_of(self._listener)
        config = uvicorn_config(self, log_config=None, log_level="warning")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._listener],), daemon=True, name="datahub"
        )
        self._thread.start()

    def serve(self, app: ASGIApp | None) -> None:
        """Serve this application from now on, in place of the one before."""
        self._app = app or _nobody
        self.requests = []

    def close(self) -> None:
        """End it."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            receive = _Recorded(scope, receive, self.requests)
        # What sends is handed on as it is: faults happen to the connection behind it.
        await self._app(scope, receive, send)


class _Recorded:
    """Receives a request, and notes it once it is there as a whole."""

    def __init__(self, scope: Scope, receive: Receive, requests: list[Request]) -> None:
        self._scope = scope
        self._receive = receive
        self._requests = requests
        self._body = b""

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                self._requests.append(self._request())
        return message

    def _request(self) -> Request:
        scope = self._scope
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        return Request(scope["method"], scope["path"], query, _json(self._body))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


async def _nobody(scope: Scope, receive: Receive, send: Send) -> None:
    """What is left of a test that has ended finds nobody here."""
    answer = JSONResponse({"code": 503, "msg": "the test is over", "data": None}, 503)
    await answer(scope, receive, send)
