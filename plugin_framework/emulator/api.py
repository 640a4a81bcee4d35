"""Datahub's API, route by route (PROTOCOL.md, part 1), in its envelope."""

from __future__ import annotations

import hmac
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plugin_framework.emulator.rules import BAD_REQUEST, TOO_LARGE, UNAUTHORIZED, Refused
from plugin_framework.emulator.store import Store
from plugin_framework.emulator.urls import Urls
from plugin_framework.protocol.models import (
    Heartbeat,
    ResultReport,
    StatusUpdate,
    UploadCompletion,
    UploadRequest,
    WireModel,
)
from plugin_framework.protocol.signing import signature_is_valid, timestamp_is_valid

BODY_LIMIT: Final = 32 * 1024 * 1024
"""Bytes: the largest result there is, with every character escaped, fits."""

Message = TypeVar("Message", bound=WireModel)
Answer = dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Credentials:
    """The plugin's API key, and the secret it signs with."""

    key: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reported:
    """A subtask's status has changed; there are no data to answer."""

    subtask_id: str


class Api:
    """The routes; ``urls`` makes those that plugins are handed."""

    def __init__(
        self,
        store: Store,
        urls: Urls,
        *,
        credentials: Credentials | None,
    ) -> None:
        self._store = store
        self._urls = urls
        self._credentials = credentials

    def routes(self) -> list[Route]:
        """What to serve."""
        return [
            self._post("/api/task/upload/init", self._upload_init),
            self._post("/api/task/upload/complete", self._upload_complete),
            self._get("/api/task/download/presign", "subtask_id", self._download_presign),
            self._post("/api/task/update_status", self._update_status),
            self._post("/api/task/heartbeat", self._heartbeat),
            self._post("/api/task/result", self._result),
            self._get("/api/task/notify", "task_id", self._notify),
        ]

    def _post(self, path: str, handle: Callable[[bytes], Answer | Reported]) -> Route:
        async def endpoint(request: Request) -> Response:
            body = await self._authenticated_body(request)
            if request.scope["query_string"]:
                raise Refused("a POST takes no query", BAD_REQUEST)
            answer = await run_in_threadpool(handle, body)
            if not isinstance(answer, Reported):
                return envelope(data=answer)
            response = envelope()
            # Nobody waits for a store to forget what came for a subtask that may have ended.
            response.background = BackgroundTask(self._store.uploads.clear, answer.subtask_id)
            return response

        return Route(path, endpoint, methods=["POST"])

    def _get(self, path: str, parameter: str, handle: Callable[[str], Answer]) -> Route:
        async def endpoint(request: Request) -> Response:
            # Signed as nothing, an empty query could pass for a body and the other way round.
            if await self._authenticated_body(request):
                raise Refused("a GET takes no body", BAD_REQUEST)
            value = request.query_params.get(parameter)
            if not value:
                raise Refused(f"{parameter} is required", BAD_REQUEST)
            return envelope(data=await run_in_threadpool(handle, value))

        # Starlette would add HEAD, which the protocol does not have.
        route = Route(path, endpoint, methods=["GET"])
        route.methods = {"GET"}
        return route

    async def _authenticated_body(self, request: Request) -> bytes:
        body = await body_of(request, BODY_LIMIT)
        pairs = request.query_params.multi_items()
        if self._credentials is not None:
            _authenticate(self._credentials, request, dict(pairs), body)
        if len(pairs) != len(dict(pairs)):
            raise Refused("a query parameter is given twice", BAD_REQUEST)
        return body

    def _upload_init(self, body: bytes) -> Answer:
        upload = self._store.uploads.begin(_read_upload_request(body))
        urls = [
            {"index": number, "url": url}
            for number, url in enumerate(self._urls.uploads(upload), 1)
        ]
        return {"upload_id": upload.upload_id, "part_upload_urls": urls}

    def _upload_complete(self, body: bytes) -> Answer:
        completion = _read(UploadCompletion, _parse(body))
        key = self._store.uploads.complete(completion, self._urls.etag)
        return {"file_url": self._urls.address(key)}

    def _download_presign(self, subtask_id: str) -> Answer:
        key, name = self._store.input_of(subtask_id)
        return {"download_url": self._urls.download(key), "file_name": name}

    def _update_status(self, body: bytes) -> Reported:
        given = _parse(body)
        if type(given.get("status")) is not int:  # an enumeration takes true and 1.0 for 1
            raise Refused("status: must be an integer", BAD_REQUEST)
        update = _read(StatusUpdate, given)
        self._store.reports.update_status(update, body)
        return Reported(update.subtask_id)

    def _heartbeat(self, body: bytes) -> Answer:
        self._store.reports.heartbeat(_read(Heartbeat, _parse(body)))
        return None

    def _result(self, body: bytes) -> Reported:
        report = _read(ResultReport, _parse(body))
        self._store.reports.result(report, body)
        return Reported(report.subtask_id)

    def _notify(self, task_id: str) -> Answer:
        return {"status": int(self._store.notified_status(task_id))}


def envelope(code: int = 0, msg: str = "success", data: Answer = None) -> Response:
    """The answer all answers are; from 400 on the code is the HTTP status too."""
    answer = {"code": code, "msg": msg, "data": data}
    return JSONResponse(answer, status_code=code if code >= BAD_REQUEST else 200)


async def refused(_request: Request, error: Exception) -> Response:
    """The answer to what Datahub does not take."""
    assert isinstance(error, Refused)
    return envelope(error.api_code, error.message)


async def not_found(_request: Request, error: Exception) -> Response:
    """The answer to what is no route."""
    assert isinstance(error, HTTPException)
    return envelope(error.status_code, error.detail)


async def failed(_request: Request, _error: Exception) -> Response:
    """The answer where the emulator itself is at fault; the server logs the traceback."""
    return envelope(500, "internal error")


async def gone(_request: Request, _error: Exception) -> Response:
    """Nobody is there to read it."""
    return Response(status_code=BAD_REQUEST)


HANDLERS: Mapping[Any, Callable[..., Any]] = {
    Refused: refused,
    HTTPException: not_found,
    ClientDisconnect: gone,
    Exception: failed,
}


async def body_of(request: Request, limit: int) -> bytes:
    """A request's body of at most ``limit`` bytes.

    Raises:
        Refused: with code 413.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refused(f"the body is larger than {limit} bytes", TOO_LARGE)
    return bytes(body)


def _authenticate(
    credentials: Credentials, request: Request, query: Mapping[str, str], body: bytes
) -> None:
    key = _only(request, "D-API-KEY")
    timestamp = _only(request, "D-TIMESTAMP")
    signature = _only(request, "D-SIGNATURE")
    if not hmac.compare_digest(key.encode(), credentials.key.encode()):
        raise Refused("unknown API key", UNAUTHORIZED)
    if not timestamp_is_valid(timestamp, time.time()):
        raise Refused("the timestamp is malformed or too far off", UNAUTHORIZED)
    if not signature_is_valid(signature, [credentials.secret], query, body, timestamp):
        raise Refused("wrong signature", UNAUTHORIZED)


def _only(request: Request, name: str) -> str:
    values = request.headers.getlist(name)
    if len(values) != 1:
        raise Refused(f"{name} must be given once", UNAUTHORIZED)
    return values[0]


def parse(body: bytes) -> Any:
    """JSON as the RFC has it: no repeated keys, no NaN, no lone surrogates.

    Raises:
        Refused: with code 400.
    """
    try:
        parsed = json.loads(
            body.decode(),
            object_pairs_hook=without_repeats,
            parse_constant=_finite,
            parse_float=_finite,
        )
        json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Refused("the body is not JSON", BAD_REQUEST) from None
    return parsed


def _parse(body: bytes) -> dict[str, Any]:
    parsed = parse(body)
    if not isinstance(parsed, dict):
        raise Refused("the body is not a JSON object", BAD_REQUEST)
    return parsed


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's content, for ``json.loads``.

    Raises:
        ValueError: a name is given twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice in one object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that JSON can hold")
    return number


def _read_upload_request(body: bytes) -> UploadRequest:
    """Either spelling of the two fields (PROTOCOL.md, part 3)."""
    given = _parse(body)
    for listed, sample in (("filename", "file_name"), ("filesize", "file_size")):
        if listed in given:
            given.setdefault(sample, given.pop(listed))
    return _read(UploadRequest, given)


def _read(model: type[Message], given: Mapping[str, Any]) -> Message:
    """The message, its JSON types taken strictly: no number is text, no truth value a number."""
    try:
        return model.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field_name = ".".join(map(str, first["loc"])) or "body"
        raise Refused(f"{field_name}: {first['msg']}", BAD_REQUEST) from None
