"""Lets in what is meant for us: pages of other sites reach loopback through a browser too.

FAULTS.md, row 90.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
CONTROL: Final = "/local/"
_HOST: Final = re.compile(
    r"(\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+)(?::([0-9]{1,5}))?", re.ASCII
)
_PORTS: Final = range(65536)
_OWN_SITE: Final = frozenset({"same-origin", "none"})
_VISIT: Final = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"))
"""What somebody sees in a window of its own, and no other page reads."""


def is_page(path: str) -> bool:
    """Whether a browser's page asks for it, and no plugin."""
    return path in {"/", "/openapi.json"} or path.startswith((CONTROL, "/page/"))


class Doorkeeper:
    """Refuses foreign ``Host`` and ``Origin`` headers with a 403.

    A page may ask for what is at its own origin alone: another port is another program's.
    """

    def __init__(self, app: ASGIApp, *, public_url: str) -> None:
        self._app = app
        self._hosts = LOOPBACK | {urlsplit(public_url).hostname}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or self._admits(scope):
            await self._app(scope, receive, send)
        else:
            refusal = JSONResponse({"error": "this host or origin is not served here"}, 403)
            await refusal(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        # An address of this machine is nobody's name: no foreign site can make itself one.
        ours = self._hosts | {scope["server"][0]} if scope.get("server") else self._hosts
        own = f"{scope['scheme']}://{hosts[0]}".lower() if hosts else ""
        return (
            [_name(host) in ours for host in hosts] == [True]
            and all(origin.lower() == own for origin in origins)
            and _is_own_site(scope["path"], headers)
        )


def _name(host: str) -> str | None:
    """Of ``NAME:PORT`` the name; None for all that is not just that."""
    match = _HOST.fullmatch(host)
    if match is None or int(match[2] or 0) not in _PORTS:
        return None
    return match[1].strip("[]").lower()


def _is_own_site(path: str, headers: Headers) -> bool:
    """Browsers say so for what carries no ``Origin``. The page itself may be linked to.

    That holds for the calls of plugins too: where nobody signs, all else would be let in.
    """
    is_visit = path == "/" and all(headers.getlist(name) == [value] for name, value in _VISIT)
    return is_visit or set(headers.getlist("sec-fetch-site")) <= _OWN_SITE
