"""Fetches pages the way sites ask for: as robots.txt says, one at a time, with pauses."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, Self

import httpx

from example_plugins.robots import MOST_BYTES, NOTHING_ALLOWED, Robots, parse_robots
from example_plugins.warc_file import Exchange
from plugin_framework import Field, PluginConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import TracebackType

AGENT = "web-archive"
"""The name that a robots.txt knows it by."""

IN_MEMORY = 1024 * 1024
"""Bytes of a page beyond which it waits on disk."""

REDIRECTS_OF_RULES = 5
PORTS = range(1, 65_536)

# Bodies are kept without it, so their headers must not tell of it either.
_FRAMING = frozenset({b"transfer-encoding"})


class PageError(Exception):
    """A page cannot be had; the others can."""


class ClientConfig(PluginConfig):
    """How to ask."""

    delay_seconds: float = Field(
        1.0,
        ge=0,
        le=60,
        title="Delay",
        description="Seconds between two requests to one host; robots.txt may ask for more.",
    )
    concurrency: int = Field(
        8,
        ge=1,
        le=100,
        title="Requests at once",
        description="To different hosts: a host is asked for one page at a time.",
    )
    timeout_seconds: float = Field(
        60.0, gt=0, le=3600, title="Timeout", description="Seconds that one page may take."
    )
    max_page_bytes: int = Field(
        50 * 1024 * 1024, ge=1, title="Largest page", description="In bytes; larger ones fail."
    )
    user_agent: str = Field(
        AGENT,
        min_length=1,
        max_length=200,
        pattern=r"^[ -~]+$",
        title="User agent",
        description="Say who you are, so that a site's owner can write to you.",
    )


@dataclass(slots=True)
class Host:
    """What is known of a host: its rules, and when it may be asked again, in the loop's time."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    rules: Robots | None = None
    refusal: str = "robots.txt does not allow it"
    ready_at: float = 0.0


class PoliteClient:
    """Fetches single pages. ``checkpoint`` is awaited before each request."""

    def __init__(self, config: ClientConfig, checkpoint: Callable[[], Awaitable[None]]) -> None:
        self._config = config
        self._checkpoint = checkpoint
        self._hosts: dict[str, Host] = {}
        self._slots = asyncio.Semaphore(config.concurrency)
        self._client = httpx.AsyncClient(
            headers={"User-Agent": config.user_agent},
            max_redirects=REDIRECTS_OF_RULES,
            timeout=config.timeout_seconds,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def get(self, address: str) -> tuple[httpx.Response, Exchange]:
        """Fetch one page, and follow no redirect.

        Raises:
            PageError: the site does not allow it, or does not answer as it should.
        """
        url = parsed(address)
        origin = str(url.copy_with(raw_path=b"/", fragment=None))
        host = self._hosts.setdefault(origin, Host())
        async with host.turn:
            if host.rules is None:
                host.rules = await self._rules(host, origin)
            if not host.rules.allow(url.raw_path.decode()):
                raise PageError(host.refusal)
            async with self._request(host, host.rules.delay):
                return await self._fetch(url)

    @asynccontextmanager
    async def _request(self, host: Host, delay: float = 0.0) -> AsyncIterator[None]:
        """Wait for the host's turn, and note when its next one is; errors are PageErrors."""
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(host.ready_at - clock())
        async with self._slots:
            await self._checkpoint()
            try:
                async with asyncio.timeout(self._config.timeout_seconds):
                    yield
            except TimeoutError:
                raise PageError("it took too long") from None
            except PageError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a site answers is its page's alone
                raise PageError(f"{type(error).__name__}: {error}"[:500]) from None
            finally:
                self._client.cookies.clear()  # who resumes has none, so nobody has
                host.ready_at = clock() + max(self._config.delay_seconds, delay)

    async def _rules(self, host: Host, origin: str) -> Robots:
        """What the site's robots.txt says: everything goes without one, nothing if it is broken."""
        try:
            async with (
                self._request(host),
                self._client.stream("GET", f"{origin}robots.txt", follow_redirects=True) as answer,
            ):
                if answer.is_success:
                    return parse_robots(await _beginning(answer), AGENT)
                if answer.is_client_error:
                    return Robots()
                reason = f"HTTP status {answer.status_code}"
        except PageError as error:
            reason = str(error)
        host.refusal = f"robots.txt cannot be had: {reason}"
        return NOTHING_ALLOWED

    async def _fetch(self, url: httpx.URL) -> tuple[httpx.Response, Exchange]:
        with ExitStack() as opened:
            body: Any = opened.enter_context(SpooledTemporaryFile(IN_MEMORY))
            async with self._client.stream("GET", url) as response:
                async for piece in response.aiter_raw():
                    body.write(piece)
                    if body.tell() > self._config.max_page_bytes:
                        raise PageError(f"it is larger than {self._config.max_page_bytes} bytes")
            size = body.tell()
            body.seek(0)
            opened.pop_all()  # whoever archives it closes it
        asked, answered = _asked(response.request), _answered(response)
        return response, Exchange(str(url), asked, answered, body, size)


def parsed(address: str) -> httpx.URL:
    """The address, without what only a browser would use of it.

    Raises:
        PageError: it is none of the web.
    """
    try:
        url = httpx.URL(address).copy_with(fragment=None)
        host, port = url.host, url.port  # httpx decodes the host only here
    except (httpx.InvalidURL, ValueError) as error:
        raise PageError(f"it is no address: {error}"[:500]) from None
    if url.scheme not in {"http", "https"} or not host or url.userinfo:
        raise PageError("it is no address of the web, http:// or https:// and a host")
    if port is not None and port not in PORTS:
        raise PageError(f"it is no address: there is no port {port}")
    return url


async def _beginning(answer: httpx.Response) -> str:
    """The text of a robots.txt, as much of it as counts."""
    text = b""
    async for piece in answer.aiter_bytes():
        text += piece
        if len(text) > MOST_BYTES:
            break
    return text[:MOST_BYTES].decode("utf-8", "replace")


def _asked(request: httpx.Request) -> tuple[str, list[tuple[str, str]]]:
    target = request.url.raw_path.decode()
    return f"{request.method} {target} HTTP/1.1", _texts(request.headers)


def _answered(response: httpx.Response) -> tuple[str, list[tuple[str, str]]]:
    return f"{response.status_code} {response.reason_phrase}", _texts(response.headers)


def _texts(headers: httpx.Headers) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers.raw
        if name.lower() not in _FRAMING
    ]
