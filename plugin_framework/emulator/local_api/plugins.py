"""Plugins and the services that have them, and the scripts that draw their forms."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from plugin_framework.emulator.local_api.answers import (
    Body,
    Problem,
    delete,
    get,
    post,
    read_body,
)
from plugin_framework.emulator.platform import Platform, Plugin

_RUNS: Final = "globalThis.datahubPluginRuns = true;\n"
"""Runs before the script does, and not where the script cannot be parsed in that way."""

FORMS: Final = {
    "expression": _RUNS + "export default (function () {{ return (\n{expression}\n); }})"
    ".call(globalThis) ?? globalThis.datahubPluginConfig;\n",
    # A body that returns the object, or sets it as a global; the line breaks end comments.
    "body": _RUNS + "export default (function () {{\n{script}\n}}).call(globalThis)"
    " ?? globalThis.datahubPluginConfig;\n",
    "module": "{script}\n",
}
"""What a config.js may be (PROTOCOL.md, 2.6, leaves it open), as a module that exports its value.

Hardly any script can be parsed in two of these ways, but for an expression, which is a body too:
who tries them in this order, and stops at the first that runs, runs the script once.
"""

_END = re.compile(r";(?:[\s;]|/\*(?:[^*]|\*(?!/))*\*/|//[^\n]*(?:\n|\Z))*\Z")
"""The semicolon that ends the last statement, with the comments after it."""


class NewService(Body):
    """Body of ``POST /local/services``."""

    url: str


class Plugins:
    """The routes of plugins and services."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self) -> list[BaseRoute]:
        """What to serve."""
        return [
            get("/local/plugins", lambda _request: _listed(self._platform.plugins())),
            get("/local/plugins/{name}/config.js", self._script),
            *self._services(),
        ]

    def _services(self) -> list[Route]:
        return [
            get("/local/services", lambda _request: self._platform.services()),
            post("/local/services", self._add),
            delete("/local/services", self._remove),
        ]

    def _add(self, _request: Request, body: bytes) -> list[dict[str, Any]]:
        return _listed(self._platform.add_service(read_body(NewService, body).url))

    def _remove(self, request: Request) -> list[dict[str, Any]]:
        url = request.query_params.get("url")
        if not url:
            raise Problem("url: the address of a service is required")
        self._platform.remove_service(url)
        return _listed(self._platform.plugins())

    def _script(self, request: Request) -> Response:
        form = request.query_params.get("as", "body")
        if form not in FORMS:
            raise Problem(f"as: expected one of {', '.join(FORMS)}")
        script = self._platform.script(unquote(request.path_params["name"]))
        module = FORMS[form].format(script=script, expression=_END.sub("", script, count=1))
        return Response(module, media_type="text/javascript")


def _listed(plugins: list[Plugin]) -> list[dict[str, Any]]:
    return [asdict(plugin) for plugin in plugins]
