"""Lets faults happen to requests. Without rules it is in nobody's way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plugin_framework.emulator.chaos.connection import Wire
from plugin_framework.emulator.chaos.engine import Chaos
from plugin_framework.emulator.chaos.ledger import Ledger
from plugin_framework.emulator.chaos.requests import (
    api_clues,
    body_read,
    call_of,
    storage_clues,
)
from plugin_framework.emulator.chaos.target import STORAGE, Target
from plugin_framework.emulator.dialects import Dialect


class ChaosMiddleware:
    """Goes around the whole application: it ends connections, for which it has to be outermost.

    Only Datahub's API and storage are hit, never what is used to set the rules.
    """

    def __init__(self, app: ASGIApp, *, chaos: Chaos, ledger: Ledger, dialect: Dialect) -> None:
        self._app = app
        self._chaos = chaos
        self._ledger = ledger
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or let happen to it what is to happen."""
        call = call_of(scope) if self._chaos.active else None
        if call is None or not self._chaos.concerns(call):
            await self._app(scope, receive, send)
            return
        wire = Wire.of(scope, receive, send)
        try:
            await self._hit(call, wire)
        except asyncio.CancelledError:  # the server ends: what hangs is not answered even then
            wire.transport.abort()
            raise

    async def _hit(self, call: str, wire: Wire) -> None:
        from plugin_framework.emulator.chaos.faults import carry_out  # noqa: PLC0415 - loaded late

        if call in STORAGE:
            clues = storage_clues(call, wire.scope)
        else:
            body, receive = await body_read(wire.receive)
            clues = api_clues(call, wire.scope, body)
            wire = replace(wire, receive=receive)
        target, injections = await run_in_threadpool(self._ledger.decide, self._chaos, clues)
        wire = self._watched(wire, target)
        await carry_out(injections, call, self._dialect, wire, self._pass_on)

    async def _pass_on(self, wire: Wire) -> None:
        await self._app(wire.scope, wire.receive, wire.send)

    def _watched(self, wire: Wire, target: Target) -> Wire:
        """The same, reset as soon as an outage begins."""

        async def receive() -> Message:
            message = await wire.receive()
            if self._chaos.is_out(target):
                await wire.reset()
                return {"type": "http.disconnect"}
            return message

        async def send(message: Message) -> None:
            if self._chaos.is_out(target):
                await wire.reset()
            await wire.send(message)  # which is dropped where nobody is there any more

        return replace(wire, receive=receive, send=send)
