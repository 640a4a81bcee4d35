"""Faults of the calls that Datahub makes to plugin services."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Final

import httpx

from plugin_framework.emulator.chaos.engine import Chaos, Injection
from plugin_framework.emulator.chaos.ledger import Ledger
from plugin_framework.emulator.chaos.requests import Clues
from plugin_framework.emulator.chaos.target import SERVICE

if TYPE_CHECKING:
    from plugin_framework.emulator.chaos.rules import Delay, Drop

SIGNATURE: Final = "D-SIGNATURE"


class ChaosTransport(httpx.BaseTransport):
    """What create_task and manage_task go through: ``httpx.Client(transport=...)``."""

    def __init__(self, inner: httpx.BaseTransport, chaos: Chaos, ledger: Ledger) -> None:
        self._inner = inner
        self._chaos = chaos
        self._ledger = ledger

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, or let happen to it what is to happen.

        Raises:
            httpx.TransportError: it could not be sent, or was dropped.
        """
        call = request.url.path.rpartition("/")[2]
        if call not in SERVICE or not self._chaos.concerns(call):
            return self._inner.handle_request(request)
        clues = Clues(call, request.method, subtask=_subtask(request))
        _target, injections = self._ledger.decide(self._chaos, clues)
        return self._through(request, injections)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def _through(self, request: httpx.Request, injections: list[Injection]) -> httpx.Response:
        if not injections:
            return self._inner.handle_request(request)
        rule, rest = injections[0].rule, injections[1:]
        if rule.fault_name == "delay":
            return self._delayed(request, rule, rest)  # type: ignore[arg-type]  # as named
        if rule.fault_name == "drop":
            return self._dropped(request, rule)  # type: ignore[arg-type]  # as named
        if rule.fault_name == "repeat":
            answer = self._through(request, rest)
            answer.read()
            self._inner.handle_request(request).close()
            return answer
        spoilt = httpx.Request(
            request.method, request.url, headers=request.headers, content=request.read()
        )
        spoilt.extensions = request.extensions
        spoilt.headers[SIGNATURE] = _spoilt(request.headers.get(SIGNATURE, ""))
        return self._through(spoilt, rest)

    def _delayed(
        self, request: httpx.Request, rule: Delay, rest: list[Injection]
    ) -> httpx.Response:
        wait = threading.Event().wait
        if rule.at == "request":
            wait(rule.seconds)
        answer = self._through(request, rest)
        if rule.at != "request":
            answer.read()
            wait(rule.seconds)
        return answer

    def _dropped(self, request: httpx.Request, rule: Drop) -> httpx.Response:
        if rule.applied:
            answer = self._inner.handle_request(request)
            answer.read()
            answer.close()
            raise httpx.ReadError("the answer was dropped on purpose", request=request)
        raise httpx.ConnectError("the call was dropped on purpose", request=request)


def _subtask(request: httpx.Request) -> str:
    try:
        given = json.loads(request.read())
    except ValueError:
        return ""
    value = given.get("subtask_id") if isinstance(given, dict) else None
    return value if isinstance(value, str) else ""


def _spoilt(signature: str) -> str:
    """Another signature of the same form."""
    return ("1" if signature[:1] == "0" else "0") + signature[1:]
