"""HTTP as uvicorn speaks it, but with the envelope where the request is no HTTP at all.

Whoever only connects has proven nothing: a connection has a deadline for the head of its request,
and when there are too many, the one that has waited longest is closed.
"""

from __future__ import annotations

import asyncio
import json
import resource
from http import HTTPStatus
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""How long the head of a request may take to arrive."""

MOST_CONNECTIONS = 1024
"""At once; fewer where few files may be open."""

MOST_FILES = 16_384
"""As many open files as are asked for, where the system allows more."""


class EnvelopeProtocol(H11Protocol):
    """One connection."""

    _deadline: asyncio.TimerHandle | None = None
    _since = 0.0

    @property
    def waits(self) -> bool:
        """Whether no request is being answered."""
        # uvicorn has None there before the first one.
        return cast("object", self.cycle) is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin, and have another connection end where there are too many."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > most_connections():
            ours = [one for one in self.connections if isinstance(one, EnvelopeProtocol)]
            waiting = [one for one in ours if one.waits and not one.transport.is_closing()]
            oldest = min(waiting, key=lambda one: one._since, default=self)  # noqa: SLF001 - our own class
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what came; asyncio's contract."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; asyncio's contract."""
        super().connection_lost(exc)
        self._unwatch()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read, and close; uvicorn's contract."""
        body = json.dumps({"code": 400, "msg": msg, "data": None}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        response = h11.Response(
            status_code=HTTPStatus.BAD_REQUEST, headers=headers, reason=b"Bad Request"
        )
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        """Have a deadline while a head, or a body that nobody wants, is arriving."""
        if not self.waits:
            self._unwatch()
        elif self._deadline is None:
            self._since = self.loop.time()
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self.waits:
            self.transport.abort()


def most_connections() -> int:
    """How many connections there may be: most files are for the subtasks."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MOST_CONNECTIONS, soft // 4) if soft >= 0 else MOST_CONNECTIONS


def allow_files() -> None:
    """Let this process open as many files as the system allows it, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard < 0 else min(hard, MOST_FILES)
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
