"""How ``/local/`` is asked and answers: JSON, and one line for what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from typing import Any, ClassVar, Final, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plugin_framework.emulator.api import body_of, parse
from plugin_framework.emulator.rules import BAD_REQUEST, Refused

BODY_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of a JSON body. Files have no limit: they go to disk as they come."""

NOT_FOUND: Final = 404
CONFLICT: Final = 409
BAD_GATEWAY: Final = 502
MARK: Final = "X-Datahub-Local"
"""A page of another site cannot send it without asking first, and is never allowed to."""

KEPT_TO_US: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Problem(Exception):  # noqa: N818 - an answer, not a fault
    """What was asked cannot be done; the message is one line for people."""

    def __init__(self, message: str, status: int = BAD_REQUEST) -> None:
        super().__init__(message)
        self.message: str = " ".join(message.split())
        self.status = status


class Body(BaseModel):
    """A request's JSON, read without leniency: a field that is misspelt is not just ignored."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True
    )


Read = TypeVar("Read", bound=BaseModel)


def answer(content: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return JSONResponse(content, status)


def get(path: str, handle: Callable[[Request], Any], *, method: str = "GET") -> Route:
    """A route that answers what ``handle``, which may take its time, makes of the request."""

    async def endpoint(request: Request) -> Response:
        made = await run_in_threadpool(handle, request)
        return made if isinstance(made, Response) else answer(made)

    return Route(path, endpoint, methods=[method])


def delete(path: str, handle: Callable[[Request], Any]) -> Route:
    """The same for what is to be there no longer."""
    return get(path, handle, method="DELETE")


def post(path: str, handle: Callable[[Request, bytes], Any], *, status: int = 200) -> Route:
    """The same with a body."""

    async def endpoint(request: Request) -> Response:
        body = await body_of(request, BODY_LIMIT)
        return answer(await run_in_threadpool(handle, request, body), status)

    return Route(path, endpoint, methods=["POST"])


def read_body(model: type[Read], body: bytes) -> Read:
    """The message in a body.

    Raises:
        Refused: it is not JSON.
        Problem: the first field that is wrong.
    """
    given = parse(body)
    try:
        return model.model_validate_json(json.dumps(given))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Problem(f"{where}: {first['msg']}" if where else f"body: {first['msg']}") from None


def number(request: Request, name: str, default: int, *, most: int = 2**63 - 1) -> int:
    """A whole number of the query, from 0 to ``most``.

    Raises:
        Problem: it is no such number.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)) or int(text) > most:
        raise Problem(f"{name}: expected a whole number from 0 to {most}")
    return int(text)


def path_of(subtask_id: str, rest: str = "") -> str:
    """The address of a task, or of something of it."""
    return f"/local/tasks/{quote(subtask_id, safe='')}{rest}"


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer({"error": error.message}, error.status)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    status = error.api_code if error.api_code >= BAD_REQUEST else CONFLICT
    return answer({"error": " ".join(error.message.split())}, status)


async def _no_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    made = answer({"error": error.detail}, error.status_code)
    made.headers.update(error.headers or {})
    return made


async def _failed(_request: Request, _error: Exception) -> Response:
    return answer({"error": "internal error"}, 500)


async def _ending(_request: Request, _error: Exception) -> Response:
    return answer({"error": "the emulator is being ended"}, 503)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=BAD_REQUEST)


HANDLERS: Final[Mapping[Any, Callable[..., Any]]] = {
    Problem: _problem,
    Refused: _refused,
    HTTPException: _no_route,
    ClientDisconnect: _gone,
    CancelledError: _ending,
    Exception: _failed,
}


def as_json(content: Any) -> bytes:
    """As compact as it gets, on one line."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
