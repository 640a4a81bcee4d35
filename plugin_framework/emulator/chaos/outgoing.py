"""Faults of the calls that Datahub makes to plugin services."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import httpx

from plugin_framework.emulator.chaos.engine import Chaos, Injection
from plugin_framework.emulator.chaos.ledger import Ledger
from plugin_framework.emulator.chaos.requests import Clues
from plugin_framework.emulator.chaos.target import SERVICE

if TYPE_CHECKING:
    from plugin_framework.emulator.chaos.rules import Delay, Drop

SIGNATURE: Final = "D-SIGNATURE"


class ChaosTransport(httpx.AsyncBaseTransport):
    """What create_task and manage_task go through: ``httpx.AsyncClient(transport=...)``."""

    def __init__(self, inner: httpx.AsyncBaseTransport, chaos: Chaos, ledger: Ledger) -> None:
        self._inner = inner
        self._chaos = chaos
        self._ledger = ledger

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, or let happen to it what is to happen.

        Raises:
            httpx.TransportError: it could not be sent, or was dropped.
        """
        call = request.url.path.rpartition("/")[2]
        if call not in SERVICE or not self._chaos.concerns(call):
            return await self._inner.handle_async_request(request)
        clues = Clues(call, request.method, subtask=_subtask(request))
        decided = await asyncio.to_thread(self._ledger.decide, self._chaos, clues)
        return await self._through(request, decided[1])

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    async def _through(
        self, request: httpx.Request, injections: Sequence[Injection]
    ) -> httpx.Response:
        if not injections:
            return await self._inner.handle_async_request(request)
        rule, rest = injections[0].rule, injections[1:]
        match rule.fault_name:
            case "delay":
                return await self._delayed(request, rule, rest)  # type: ignore[arg-type]  # as named
            case "drop":
                return await self._dropped(request, rule)  # type: ignore[arg-type]  # as named
            case "repeat":
                answer = await _whole(await self._through(request, rest))
                await _whole(await self._inner.handle_async_request(request))
                return answer
            case _:
                return await self._through(_spoilt(request), rest)

    async def _delayed(
        self, request: httpx.Request, rule: Delay, rest: Sequence[Injection]
    ) -> httpx.Response:
        if rule.at == "request":
            await asyncio.sleep(rule.seconds)
            return await self._through(request, rest)
        answer = await _whole(await self._through(request, rest))
        await asyncio.sleep(rule.seconds)
        return answer

    async def _dropped(self, request: httpx.Request, rule: Drop) -> httpx.Response:
        if not rule.applied:
            raise httpx.ConnectError("the call was dropped on purpose", request=request)
        await _whole(await self._inner.handle_async_request(request))
        raise httpx.ReadError("the answer was dropped on purpose", request=request)


async def _whole(answer: httpx.Response) -> httpx.Response:
    """The answer read to its end, so that its connection is free again, and still to be read."""
    raw = b"".join([piece async for piece in answer.aiter_raw()])
    await answer.aclose()
    return httpx.Response(
        answer.status_code,
        headers=answer.headers,
        stream=httpx.ByteStream(raw),
        extensions=answer.extensions,
    )


def _subtask(request: httpx.Request) -> str:
    try:
        given = json.loads(request.content)
    except ValueError:
        return ""
    value = given.get("subtask_id") if isinstance(given, dict) else None
    return value if isinstance(value, str) else ""


def _spoilt(request: httpx.Request) -> httpx.Request:
    """The same with another signature of the same form."""
    signature = request.headers.get(SIGNATURE, "")
    digit = "1" if signature[:1] == "0" else "0"
    headers = request.headers.copy()
    headers[SIGNATURE] = digit + signature[1:]
    return httpx.Request(
        request.method,
        request.url,
        headers=headers,
        content=request.content,
        extensions=request.extensions,
    )
