"""The page and ``/local/`` as one ASGI application, and what drives plugin services behind it."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plugin_framework._version import __version__
from plugin_framework.emulator.chaos import Chaos
from plugin_framework.emulator.chaos.routes import routes
from plugin_framework.emulator.local_api.answers import (
    HANDLERS,
    KEPT_TO_US,
    MARK,
    NOT_FOUND,
    Problem,
    answer,
    get,
    number,
)
from plugin_framework.emulator.local_api.files import Files
from plugin_framework.emulator.local_api.hub import Client, Hub
from plugin_framework.emulator.local_api.openapi import document
from plugin_framework.emulator.local_api.plugins import Plugins
from plugin_framework.emulator.local_api.tasks import Tasks
from plugin_framework.emulator.page import page_routes
from plugin_framework.emulator.platform import Platform
from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.settings import ServerSettings
from plugin_framework.emulator.store import Store

_PLACE: Final = re.compile(r"(\d{1,18})-(\d{1,18})-(\d{1,18})", re.ASCII)


class LocalApi:
    """Made once for a server, which is at ``url``.

    Attributes:
        app: what to serve.
    """

    def __init__(self, settings: ServerSettings, store: Store, chaos: Chaos, url: str) -> None:
        self._settings = settings
        self._store = store
        self._chaos = chaos
        self._url = url
        self._platform = Platform(
            store, settings.credentials, lost_after=settings.lost_after, chaos=chaos
        )
        self._hub = Hub(store)
        store.meter.records = True
        app = Starlette(routes=self._routes(), exception_handlers=HANDLERS)
        app.router.redirect_slashes = False
        self.app: ASGIApp = Guard(app)
        self._platform.start()
        for service in settings.services:
            self._platform.expect_service(service)

    def _routes(self) -> list[BaseRoute]:
        return [
            *page_routes(),
            get("/local/info", self._info),
            Route("/local/stream", self._stream, methods=["GET"]),
            *Files(self._store).routes(),
            *Tasks(self._store, self._platform).routes(),
            *Plugins(self._platform).routes(),
            *routes(self._chaos),
            get("/openapi.json", self._document),
        ]

    def _info(self, _request: Request) -> dict[str, Any]:
        settings = self._settings
        return {
            "version": __version__,
            "url": self._url,
            "auth": settings.credentials is not None,
            "storage": settings.storage or "local",
            "dialect": settings.dialect,
            "lost_after": settings.lost_after,
            "page": "/",
        }

    def _document(self, _request: Request) -> dict[str, Any]:
        return document(self._url, signed=self._settings.credentials is not None)

    async def _stream(self, request: Request) -> Response:
        # Whoever fetches a list once this has begun to answer misses nothing between the two.
        client = await run_in_threadpool(self._client, request)
        return StreamingResponse(self._hub.stream(client), media_type="text/event-stream")

    def _client(self, request: Request) -> Client:
        newest = self._store.revision
        task = request.query_params.get("task")
        if task is not None:
            self._check(task)
        client = Client(
            revision=min(newest, number(request, "since", newest)),
            task=task,
            event=number(request, "events", 0),
            log=number(request, "logs", 0),
        )
        place = request.headers.get("last-event-id")
        if place is not None:
            match = _PLACE.fullmatch(place)
            if match is None:
                raise Problem("Last-Event-ID: expected the id of an event of this stream")
            client.revision, client.event, client.log = map(int, match.groups())
            client.revision = min(newest, client.revision)
        return client

    def _check(self, task: str) -> None:
        try:
            self._store.subtask(task)
        except Refused:
            raise Problem("there is no such task", NOT_FOUND) from None

    def end_streams(self) -> None:
        """End the streams. For the event loop's thread."""
        self._hub.end()

    def close(self) -> None:
        """Leave nothing running."""
        self._platform.close()


class Guard:
    """Takes nothing that changes anything from a page that is not ours, and gives it nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in KEPT_TO_US.items():
                    headers.setdefault(name, value)
            await send(message)

        # As it was sent: a slash in an id is none of the path's.
        scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        if scope["method"] in {"GET", "HEAD"} or Headers(scope=scope).get(MARK) == "1":
            await self._app(scope, receive, send_guarded)
        else:
            refusal = answer({"error": f"the header {MARK}: 1 is required"}, 403)
            await refusal(scope, receive, send_guarded)
