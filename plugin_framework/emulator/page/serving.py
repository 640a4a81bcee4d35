"""Serves the page's files, and nothing else of the folder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePath
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere, in nobody's frame."""

KINDS: Final[Mapping[str, str]] = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
}
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",  # files of two releases never meet in one browser
}


def page_routes() -> list[Route]:
    """The page at ``/``, and what it loads below ``/page/``."""
    return [
        _route("/" if file.name == "index.html" else f"/page/{file.name}", file.read_bytes())
        for file in files(__package__).iterdir()
        if PurePath(file.name).suffix in KINDS
    ]


def _route(path: str, body: bytes) -> Route:
    kind = KINDS[PurePath(path).suffix or ".html"]

    async def endpoint(_request: Request) -> Response:
        return Response(body, media_type=kind, headers=dict(HEADERS))

    return Route(path, endpoint, methods=["GET"])
