"""The plugin that is measured, and how it is called (PROTOCOL.md, 2.1 to 2.4)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx

from plugin_framework.emulator.api import Credentials
from plugin_framework.emulator.bench.ledger import Answer
from plugin_framework.errors import ConfigurationError
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.protocol.signing import signature_headers

HEALTH_SECONDS: Final = 10.0

_BUSY: Final = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Target:
    """``base`` is the address that the plugin's /api begins at; each task has this ``config``."""

    base: str
    credentials: Credentials | None
    config: Mapping[str, Any]

    def create(self, subtask_id: str) -> httpx.Request:
        """The call create_task."""
        return self._post("create_task", {"subtask_id": subtask_id, "config": self.config})

    def cancel(self, subtask_id: str) -> httpx.Request:
        """The call manage_task, to cancel."""
        return self._post(
            "manage_task", {"subtask_id": subtask_id, "status": int(TaskStatus.CANCELLED)}
        )

    def _post(self, call: str, message: Mapping[str, Any]) -> httpx.Request:
        body = json.dumps(message).encode()
        headers = {"Content-Type": "application/json", **_signed(self.credentials, {}, body)}
        address = f"{self.base}/api/plugin/{call}"
        return httpx.Request("POST", address, content=body, headers=headers)


def find_target(
    url: str, plugin: str | None, credentials: Credentials | None, config: Mapping[str, Any]
) -> Target:
    """Ask a service how it is, and so where its plugin is.

    Raises:
        ConfigurationError: it does not answer, or serves no such plugin, or several.
    """
    url = url.rstrip("/")
    health = _health(url, credentials)
    served = [str(one.get("plugin_id")) for one in health.get("plugins", ())]
    if not served:
        # A service that is no other's: its one plugin has an id of its own making.
        return Target(url, credentials, config)
    if plugin not in served:
        asked = f"no plugin {plugin}" if plugin else "several plugins"
        raise ConfigurationError(
            f"--service {url} serves {asked}: give --plugin, one of {', '.join(served)}"
        )
    return Target(f"{url}/{quote(plugin, safe='')}", credentials, config)


def read_answer(status: int, body: bytes) -> tuple[Answer, str]:
    """What an answer to create_task means, and in which words it was given."""
    envelope = _object(body)
    if envelope is None:
        return ("busy" if status in _BUSY else "refused"), f"HTTP {status} without an envelope"
    code, message = envelope.get("code", 0), str(envelope.get("msg", ""))
    if status == HTTPStatus.OK and code == 0:
        return "accepted", ""
    is_busy = status in _BUSY or "busy" in message.lower()
    return ("busy" if is_busy else "refused"), f"HTTP {status}, code {code}: {message}"


def _health(url: str, credentials: Credentials | None) -> dict[str, Any]:
    if not _is_address(url):
        raise ConfigurationError(f"--service {url}: expected an http:// or https:// address")
    query = {"timestamp": str(int(time.time()))}
    try:
        answer = httpx.get(
            f"{url}/api/plugin/health",
            params=query,
            headers=_signed(credentials, query, b""),
            timeout=HEALTH_SECONDS,
            trust_env=False,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"--service {url} does not answer ({error})") from None
    envelope = _object(answer.content)
    if answer.status_code != HTTPStatus.OK or envelope is None or envelope.get("code", 0) != 0:
        said = (envelope or {}).get("msg", "no envelope")
        raise ConfigurationError(
            f"--service {url} answered HTTP {answer.status_code} ({said}) when asked for its health"
        )
    return envelope


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _signed(
    credentials: Credentials | None, query: Mapping[str, str], body: bytes
) -> dict[str, str]:
    """The headers that sign a request now; none without credentials."""
    if credentials is None:
        return {}
    return signature_headers(credentials.key, credentials.secret, query, body, int(time.time()))
