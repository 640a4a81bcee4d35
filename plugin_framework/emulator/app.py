"""The whole emulator as one ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from plugin_framework.emulator.api import HANDLERS, Api, Credentials
from plugin_framework.emulator.chaos import Chaos
from plugin_framework.emulator.chaos.middleware import ChaosMiddleware
from plugin_framework.emulator.dialects import Bucket, dialect_named
from plugin_framework.emulator.doorkeeper import Doorkeeper, is_page
from plugin_framework.emulator.storage import BUCKET, PREFIX, Storage
from plugin_framework.emulator.store import Store
from plugin_framework.emulator.urls import LocalUrls

ACCESS_KEY: Final = "DATAHUBEMULATOR"


def create_app(
    store: Store,
    *,
    credentials: Credentials | None,
    url_lifetime: int = 3600,
    public_url: str,
    dialect: str = "s3",
    control: ASGIApp | None = None,
    chaos: Chaos | None = None,
) -> ASGIApp:
    """The API and the storage over ``store``, and ``control`` beside them.

    Without ``credentials`` no signature is asked for. ``url_lifetime`` is in seconds;
    ``public_url`` is the address this is served at, of which presigned URLs are made;
    ``dialect`` is one of ``DIALECTS``; ``chaos`` is what goes wrong. What is in a
    real store is signed for by boto3, and served there.
    """
    bucket = Bucket(f"{public_url.rstrip('/')}{PREFIX}/{BUCKET}")
    storage = dialect_named(dialect, bucket, ACCESS_KEY, store.storage_secret)
    urls = (
        LocalUrls(storage, url_lifetime)
        if store.bucket is None
        else store.bucket.urls(url_lifetime)
    )
    datahub: ASGIApp = Starlette(
        routes=Api(store, urls, credentials=credentials).routes(), exception_handlers=HANDLERS
    )
    if store.bucket is None:
        files = Storage(store.objects, store.parts, store.meter, storage)
        datahub = Fork(datahub, files, _is_storage)
    if chaos is not None:
        datahub = ChaosMiddleware(datahub, chaos=chaos, ledger=store.faults, dialect=storage)
    app = datahub if control is None else Fork(datahub, control, is_page)
    return Doorkeeper(app, public_url=public_url)


class Fork:
    """Two applications: ``other`` is for the paths that are ``others``."""

    def __init__(self, one: ASGIApp, other: ASGIApp, others: Callable[[str], bool]) -> None:
        self._one = one
        self._other = other
        self._is_others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        wanted = self._other if self._is_others(scope.get("path", "")) else self._one
        await wanted(scope, receive, send)


def _is_storage(path: str) -> bool:
    return path.startswith(f"{PREFIX}/")
