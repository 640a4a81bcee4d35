"""Asks a running emulator for its rules, and sets them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urlsplit

from plugin_framework.errors import Code, ConfigurationError

_PATH: Final = "/local/chaos"
_MARK: Final = {"X-Datahub-Local": "1"}
_SECONDS: Final = 30


def get_rules(url: str) -> dict[str, Any]:
    """The rules in force, and what came of them, of the emulator at ``url``."""
    given = _call(url, "GET", _PATH)
    return {name: given[name] for name in ("seed", "rules", "counters")}


def put_rules(url: str, rules: Mapping[str, Any] | None, *, keep: bool) -> None:
    """Set rules; None: none any more.

    Raises:
        ConfigurationError: with a line for each mistake.
    """
    if rules is None:
        _call(url, "DELETE", _PATH)
        return
    given = _call(url, "PUT", f"{_PATH}?keep=true" if keep else _PATH, json.dumps(rules).encode())
    if "problems" in given:
        raise ConfigurationError(given["problems"], code=Code.FAULTS_WRONG)


def _call(url: str, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
    # Not urllib.request: the environment's proxies have no business with an address of our own.
    connection = HTTPConnection(urlsplit(url).netloc, timeout=_SECONDS)
    try:
        connection.request(method, path, body, _MARK)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return answer
