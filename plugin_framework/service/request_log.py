"""Counts requests, and writes a line for each, with the subtask it was about."""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plugin_framework.service.metrics import Metrics

CALLS = frozenset(
    {
        "config.js",
        "create_task",
        "health",
        "live",
        "manage_task",
        "metrics",
        "openapi.json",
        "payment",
        "ready",
    }
)

log: logging.Logger = logging.getLogger("datahub.access")


class RequestLog:
    """Around the application. Queries are not written: what is in them is nobody's business."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics | None, lines: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 500, time.monotonic()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            self._note(scope, status, time.monotonic() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["raw_path"].decode("ascii", "replace")
        if self._metrics is not None:
            last = path.rpartition("/")[2]
            # Anybody may ask for any path, and each label costs memory.
            self._metrics.request(last if last in CALLS else "other", status, seconds)
        if self._lines:
            facts: dict[str, Any] = {
                "method": scope["method"],
                "path": path,
                "status": status,
                "ms": round(seconds * 1000, 1),
                "client": scope["client"][0] if scope["client"] else None,
                "subtask_id": scope.get("subtask_id"),
            }
            log.info(
                "%(method)s %(path)s %(status)d in %(ms)s ms, subtask %(subtask_id)s",
                facts,
                extra={"facts": facts},
            )
