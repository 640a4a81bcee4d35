"""Who may call: reads a request's bytes, and lets in what Datahub signed (PROTOCOL.md, 2.1)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from plugin_framework.protocol.signing import Inbound, NotSignedError, Seen
from plugin_framework.service.answers import BUSINESS_ERROR, Refused

BODY_LIMIT: Final = 1024 * 1024
"""Bytes."""

BODIES_LIMIT: Final = 32 * BODY_LIMIT
"""Bytes of all bodies that are arriving."""

BODY_SECONDS: Final = 30.0
"""How long a body may take to arrive."""

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

_CLOSE: Final = {"connection": "close"}
# As every encoder writes it: escapes in capitals, and none where none is needed. So one query is
# written in one way, and changing a byte changes what is signed.
_QUERY: Final = re.compile(
    rb"(?:[A-Za-z0-9._~!$'()*+,;:@/?=&-]"
    rb"|%(?!2[DE]|3[0-9]|[46][1-9A-F]|[57][0-9A]|5F|7E)[0-9A-F]{2})*"
)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in; ``number`` stands for its signature, where it has one."""

    query: Mapping[str, str]
    body: bytes
    number: int | None


class Admission:
    """The service's door. Without ``inbound``, whoever is on this machine may call."""

    def __init__(self, inbound: Inbound | None, seen: Seen) -> None:
        self._inbound = inbound
        self._seen = seen
        self._arriving = 0

    async def admit(self, request: Request) -> Call:
        """Read a request and let it in, before anything of its content is looked at.

        Raises:
            Refused: with 400, 401, 403, 408, 411, 413 or 503; then no signature was taken.
        """
        length = _length(request)
        self._check_headers(request)
        body = await self._body(request, length)
        query = _query(request.scope["query_string"])
        return Call(query, body, self._signature(request, query, body))

    def _check_headers(self, request: Request) -> None:
        """Keep nothing for somebody who does not even seem to be Datahub."""
        if self._inbound is None:
            _check_local(request)
            return
        try:
            self._inbound.check_headers(request.scope["headers"], time.time())
        except NotSignedError as error:
            raise Refused(401, str(error)) from None

    async def _body(self, request: Request, length: int) -> bytes:
        if self._arriving + length > BODIES_LIMIT:
            raise Refused(
                503, "busy", api_code=BUSINESS_ERROR, headers={**_CLOSE, "retry-after": "5"}
            )
        self._arriving += length
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await request.body()
        except TimeoutError:
            raise Refused(408, "the body did not arrive", headers=_CLOSE) from None
        finally:
            self._arriving -= length

    def _signature(self, request: Request, query: Mapping[str, str], body: bytes) -> int | None:
        if self._inbound is None:
            return None
        try:
            number = self._inbound.check(request.scope["headers"], query, body, time.time())
            self._seen.take(number)
        except NotSignedError as error:
            raise Refused(401, str(error)) from None
        except OverflowError as error:
            raise Refused(503, str(error), api_code=BUSINESS_ERROR) from None
        return number


def check_form(request: Request, call: Call) -> None:
    """Refuse what is said in the wrong place, or not as JSON.

    Raises:
        Refused: with 400 or 415.
    """
    if request.method == "POST":
        # Signed as nothing, an empty query could pass for a body and the other way round.
        if call.query:
            raise Refused(400, "a POST takes no query")
        _check_json(request)
    elif call.body:
        raise Refused(400, "a GET takes no body")


def _length(request: Request) -> int:
    headers = request.headers
    if "transfer-encoding" in headers:
        raise Refused(411, "a body needs a Content-Length, and no coding", headers=_CLOSE)
    length = int(headers.get("content-length", 0))  # the server has checked its form
    if length > BODY_LIMIT:
        raise Refused(413, f"the body is larger than {BODY_LIMIT} bytes")
    return length


def _query(raw: bytes) -> dict[str, str]:
    if not raw:
        return {}
    written = raw.decode("ascii") if _QUERY.fullmatch(raw) else "malformed"
    try:
        pairs = parse_qsl(written, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise Refused(400, "the query is malformed") from None
    if len(dict(pairs)) != len(pairs):
        raise Refused(400, "a query parameter is given twice")
    return dict(pairs)


def _check_json(request: Request) -> None:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Refused(415, "the Content-Type must be application/json")


def _check_local(request: Request) -> None:
    """Pages of other sites reach loopback too, through a browser: they are not let in."""
    addresses = [f"//{host}" for host in request.headers.getlist("host")]
    addresses += request.headers.getlist("origin")
    if not all(map(_is_local, addresses)):
        raise Refused(403, "this host or origin is not served without a signature")


def _is_local(address: str) -> bool:
    try:
        # What would be a user's name has no place here.
        return "@" not in address and urlsplit(address).hostname in LOOPBACK
    except ValueError:
        return False
