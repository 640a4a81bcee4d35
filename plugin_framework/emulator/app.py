"""The whole emulator as one ASGI application."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from plugin_framework.emulator.api import HANDLERS, Api, Credentials
from plugin_framework.emulator.dialects import Bucket, dialect_named
from plugin_framework.emulator.storage import BUCKET, PREFIX, Storage
from plugin_framework.emulator.store import Store

ACCESS_KEY: Final = "DATAHUBEMULATOR"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def create_app(
    store: Store,
    *,
    credentials: Credentials | None,
    url_lifetime: int = 3600,
    public_url: str,
    dialect: str = "s3",
) -> Starlette:
    """The API and the storage over ``store``.

    Without ``credentials`` no signature is asked for. ``url_lifetime`` is in seconds;
    ``public_url`` is the address this is served at, of which presigned URLs are made;
    ``dialect`` is one of ``DIALECTS``.
    """
    bucket = Bucket(f"{public_url.rstrip('/')}{PREFIX}/{BUCKET}")
    storage = dialect_named(dialect, bucket, ACCESS_KEY, store.storage_secret)
    api = Api(store, storage, credentials=credentials, url_lifetime=url_lifetime)
    return Starlette(
        routes=[*api.routes(), Mount(PREFIX, app=Storage(store.objects, storage))],
        middleware=[Middleware(Doorkeeper, public_url=public_url)],
        exception_handlers=HANDLERS,
    )


class Doorkeeper:
    """Lets in what is meant for us: pages of other sites reach loopback through a browser too."""

    def __init__(self, app: ASGIApp, *, public_url: str) -> None:
        self._app = app
        self._hosts = LOOPBACK | {urlsplit(public_url).hostname}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse foreign ``Host`` and ``Origin`` headers with a 403."""
        if scope["type"] != "http" or self._admits(Headers(scope=scope)):
            await self._app(scope, receive, send)
        else:
            refusal = PlainTextResponse("this host or origin is not served here", 403)
            await refusal(scope, receive, send)

    def _admits(self, headers: Headers) -> bool:
        addresses = [f"//{host}" for host in headers.getlist("host")]
        addresses += headers.getlist("origin")
        return bool(headers.get("host")) and all(map(self._is_ours, addresses))

    def _is_ours(self, address: str) -> bool:
        try:
            return urlsplit(address).hostname in self._hosts
        except ValueError:
            return False
