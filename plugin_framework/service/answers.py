"""What the service answers: the envelope, with data or with a refusal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from plugin_framework.errors import DatahubError

BUSINESS_ERROR = 1
"""The code of what is well-formed and cannot be done."""


class Refused(DatahubError):  # noqa: N818 - an answer of the service, not a fault of it
    """The service says no.

    ``status`` is the HTTP status, and the envelope's code unless ``api_code`` is given.
    ``problems`` are lines such as ``config.size: Input should be greater than 0``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        api_code: int | None = None,
        problems: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.api_code: int = status if api_code is None else api_code
        self.problems = problems
        self.headers = headers


def envelope(
    code: int = 0,
    msg: str = "success",
    *,
    data: Any = None,
    http: int = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """An answer; ``http`` is its HTTP status, and ``more`` stands in the place of ``data``."""
    answer = {"code": code, "msg": msg, **(more or {"data": data})}
    # Half a surrogate pair has no UTF-8: it stays escaped.
    return Response(
        json.dumps(answer).encode(), http, headers=headers, media_type="application/json"
    )


async def refused(_request: Request, error: Exception) -> Response:
    """The answer to what the service does not take."""
    assert isinstance(error, Refused)
    fields = [_field(line) for line in error.problems]
    return envelope(
        error.api_code,
        error.message,
        data={"errors": fields} if fields else None,
        http=error.status,
        headers=error.headers,
    )


async def not_found(_request: Request, error: Exception) -> Response:
    """The answer to what is no route."""
    assert isinstance(error, HTTPException)
    return envelope(error.status_code, error.detail, http=error.status_code, headers=error.headers)


async def failed(_request: Request, _error: Exception) -> Response:
    """The answer where the service itself is at fault; the server logs the traceback."""
    return envelope(500, "internal error", http=500)


async def gone(_request: Request, _error: Exception) -> Response:
    """Nobody is there to read it."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


def _field(line: str) -> dict[str, str]:
    field, _, message = line.partition(": ")
    return {"field": field, "message": message}
