"""Carries out what the rules say, on a request's connection."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias

from starlette.responses import Response
from starlette.types import Message

from plugin_framework.emulator.chaos import rules
from plugin_framework.emulator.chaos.connection import Wire, dropped
from plugin_framework.emulator.chaos.engine import Injection
from plugin_framework.emulator.chaos.target import STORAGE
from plugin_framework.emulator.dialects import Dialect, ObjectStoreError, Request
from plugin_framework.emulator.dialects.dialect import LONGEST_EXPIRY

App: TypeAlias = Callable[[Wire], Awaitable[None]]

PAGE: Final = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Sign in</body></html>"
_RANDOM_BYTES: Final = 1024
_HEADER_BYTES: Final = 1024 * 1024
_STEPS_PER_SECOND: Final = 20
_CODES: Final[Mapping[int, str]] = {
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    408: "RequestTimeout",
    412: "PreconditionFailed",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


@dataclass(frozen=True, slots=True)
class Hit:
    """A fault about to happen to a request, to storage in its ``dialect``."""

    call: str
    seed: str
    dialect: Dialect

    @property
    def is_storage(self) -> bool:
        """Whether the request is one to storage."""
        return self.call in STORAGE

    def random(self, size: int) -> bytes:
        """So many bytes: the same at every run."""
        return random.Random(self.seed).randbytes(size)  # noqa: S311 - no secret: it is repeatable


async def carry_out(
    injections: Sequence[Injection], call: str, dialect: Dialect, wire: Wire, app: App
) -> None:
    """Let the faults happen to a request, the first one outermost."""
    for injection in reversed(injections):
        hit = Hit(call, injection.seed, dialect)
        app = partial(_FAULTS[type(injection.rule)], injection.rule, hit, app)
    await app(wire)


async def _delay(rule: rules.Delay, hit: Hit, app: App, wire: Wire) -> None:
    if rule.at == "request":
        await asyncio.sleep(rule.seconds)
        await app(wire)
    elif rule.at == "answer":
        await app(replace(wire, send=_before_answer(wire, rule.seconds)))
    elif hit.call == "put":
        await app(replace(wire, receive=_in_mid_file(wire, rule.seconds)))
    else:
        await app(replace(wire, send=_in_mid_answer(wire, rule.seconds)))


def _before_answer(wire: Wire, seconds: float) -> Callable[[Message], Awaitable[None]]:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(seconds)
        await wire.send(message)

    return send


def _in_mid_file(wire: Wire, seconds: float) -> Callable[[], Awaitable[Message]]:
    half, received = _length(wire.scope["headers"]) // 2, 0

    async def receive() -> Message:
        nonlocal received
        message = await wire.receive()
        before, received = received, received + len(message.get("body", b""))
        if before <= half < received:
            await asyncio.sleep(seconds)
        return message

    return receive


def _in_mid_answer(wire: Wire, seconds: float) -> Callable[[Message], Awaitable[None]]:
    left = 0

    async def send(message: Message) -> None:
        nonlocal left
        if message["type"] == "http.response.start":
            left = _length(message["headers"]) // 2
        elif left >= 0:
            body = message.get("body", b"")
            if len(body) >= left:
                await wire.send({**message, "body": body[:left], "more_body": True})
                message = {**message, "body": body[left:]}
                await asyncio.sleep(seconds)
            left -= max(1, len(body))
        await wire.send(message)

    return send


async def _trickle(rule: rules.Trickle, hit: Hit, app: App, wire: Wire) -> None:
    step = max(1, rule.bytes_per_second // _STEPS_PER_SECOND)

    async def send(message: Message) -> None:
        body = message.get("body", b"")
        while len(body) > step:
            await pass_on(step)
            await wire.send({**message, "body": body[:step], "more_body": True})
            body = body[step:]
        await pass_on(len(body))
        await wire.send({**message, "body": body} if body else message)

    async def receive() -> Message:
        message = await wire.receive()
        await pass_on(len(message.get("body", b"")))
        return message

    async def pass_on(size: int) -> None:
        if size:
            await asyncio.sleep(size / rule.bytes_per_second)

    await app(replace(wire, receive=receive) if hit.call == "put" else replace(wire, send=send))


async def _status(rule: rules.Status, hit: Hit, app: App, wire: Wire) -> None:
    await _apply(rule, app, wire)
    after = {} if rule.retry_after is None else {"Retry-After": _plain(rule.retry_after)}
    message = rule.message or "chaos"
    if hit.is_storage:
        code = rule.error or _CODES.get(rule.status, "InternalError")
        error = ObjectStoreError(rule.status, code, message, headers=after)
        await _answer(wire, _document(error, hit, wire))
    else:
        envelope = {"code": rule.status, "msg": message, "data": None}
        await _answer(wire, _json(envelope, rule.status, after))


async def _code(rule: rules.Code, _hit: Hit, app: App, wire: Wire) -> None:
    await _apply(rule, app, wire)
    await _answer(wire, _json({"code": rule.code, "msg": rule.message, "data": None}))


async def _reset(rule: rules.Reset, _hit: Hit, app: App, wire: Wire) -> None:
    if rule.applied and rule.bytes:
        await app(replace(wire, send=_cut(wire, lambda _length: rule.bytes, wire.reset)))
        return
    await _apply(rule, app, wire)
    received, more = 0, not rule.applied
    while more and received < rule.bytes:
        message = await wire.receive()
        received, more = received + len(message.get("body", b"")), message.get("more_body", False)
    await wire.reset()


async def _hang(rule: rules.Hang, _hit: Hit, app: App, wire: Wire) -> None:
    await _apply(rule, app, wire)
    try:
        async with asyncio.timeout(rule.seconds):
            await wire.until_gone()
    except TimeoutError:
        await wire.close()


async def _truncate(rule: rules.Truncate, _hit: Hit, app: App, wire: Wire) -> None:
    def kept(length: int) -> int:
        return max(0, length // 2 if rule.bytes is None else min(rule.bytes, length - 1))

    if rule.length == "whole":
        await app(replace(wire, send=_cut(wire, kept, wire.close)))
    else:
        await app(replace(wire, send=_shortened(wire, kept)))


def _cut(
    wire: Wire, kept: Callable[[int], int], end: Callable[[], Awaitable[None]]
) -> Callable[[Message], Awaitable[None]]:
    """Send so many bytes of the body, and end the connection."""
    left, ended = 0, False

    async def send(message: Message) -> None:
        nonlocal left, ended
        if message["type"] == "http.response.start":
            left = kept(_length(message["headers"]))
            await wire.send(message)
            return
        if ended:
            return
        body = message.get("body", b"")
        await wire.send({**message, "body": body[:left], "more_body": True})
        left -= len(body)
        if left <= 0 or not message.get("more_body"):
            ended = True
            await end()

    return send


def _shortened(wire: Wire, kept: Callable[[int], int]) -> Callable[[Message], Awaitable[None]]:
    """Send so many bytes of the body as if there were no more."""
    left = 0

    async def send(message: Message) -> None:
        nonlocal left
        if message["type"] == "http.response.start":
            left = kept(_length(message["headers"]))
            headers = [*_without(message["headers"], b"content-length"), _length_of(left)]
            message = {**message, "headers": headers}
        else:
            body = message.get("body", b"")[:left]
            left -= len(body)
            message = {**message, "body": body}
        await wire.send(message)

    return send


async def _garbage(rule: rules.Garbage, hit: Hit, app: App, wire: Wire) -> None:
    await _apply(rule, app, wire)
    json_type = "application/json"
    match rule.kind:
        case "html":
            await _answer(wire, Response(PAGE, media_type="text/html"))
        case "bytes":
            await _answer(wire, Response(hit.random(_RANDOM_BYTES), media_type=json_type))
        case "gzip":
            headers = {"Content-Encoding": "gzip"}
            body = hit.random(_RANDOM_BYTES)
            await _answer(wire, Response(body, headers=headers, media_type=json_type))
        case "header":
            answer = _json({"code": 0, "msg": "success", "data": None})
            answer.headers["X-Padding"] = "x" * _HEADER_BYTES
            await _answer(wire, answer)
        case "status_line":
            wire.transport.write(hit.random(_RANDOM_BYTES).replace(b"\n", b"") + b"\r\n\r\n")
            await wire.close()


async def _expire(_rule: rules.Expire, hit: Hit, app: App, wire: Wire) -> None:
    # The dialect finds itself that it has expired: what is signed in which way is its business.
    try:
        hit.dialect.verify(_as_signed(wire), time.time() + 2 * LONGEST_EXPIRY)
    except ObjectStoreError as error:
        await _answer(wire, _document(error, hit, wire))
    else:
        await app(wire)


async def _slow_down(rule: rules.SlowDown, hit: Hit, _app: App, wire: Wire) -> None:
    after = {} if rule.retry_after is None else {"Retry-After": _plain(rule.retry_after)}
    message = "Please reduce your request rate."
    error = ObjectStoreError(503, "SlowDown", message, headers=after)
    await _answer(wire, _document(error, hit, wire))


async def _ignore_range(_rule: rules.IgnoreRange, _hit: Hit, app: App, wire: Wire) -> None:
    headers = _without(wire.scope["headers"], b"range")
    await app(replace(wire, scope={**wire.scope, "headers": headers}))


async def _wrong_etag(rule: rules.WrongEtag, hit: Hit, app: App, wire: Wire) -> None:
    async def send(message: Message) -> None:
        given = dict(message.get("headers", ()))
        if b"etag" in given:
            headers = _without(message["headers"], b"etag")
            if rule.etag == "other":
                headers.append((b"etag", _other(given[b"etag"], hit.seed)))
            message = {**message, "headers": headers}
        await wire.send(message)

    await app(replace(wire, send=send))


async def _outage(_rule: rules.Outage, _hit: Hit, _app: App, wire: Wire) -> None:
    await wire.reset()


_FAULTS: Final[Mapping[type[rules.Rule], Callable[..., Awaitable[None]]]] = {
    rules.Delay: _delay,
    rules.Trickle: _trickle,
    rules.Status: _status,
    rules.Code: _code,
    rules.Reset: _reset,
    rules.Hang: _hang,
    rules.Truncate: _truncate,
    rules.Garbage: _garbage,
    rules.Expire: _expire,
    rules.SlowDown: _slow_down,
    rules.IgnoreRange: _ignore_range,
    rules.WrongEtag: _wrong_etag,
    rules.Outage: _outage,
}


async def _apply(rule: rules.Answering, app: App, wire: Wire) -> None:
    """Let the request take effect, if it is to, and keep the answer to it back."""
    if rule.applied:
        await app(replace(wire, send=dropped))


async def _answer(wire: Wire, response: Response) -> None:
    await response(wire.scope, wire.receive, wire.send)


def _json(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(content).encode(), status, headers, "application/json")


def _document(error: ObjectStoreError, hit: Hit, wire: Wire) -> Response:
    request_id = hit.random(12).hex().upper()
    body = hit.dialect.document(error, _as_signed(wire), request_id)
    headers = {**error.headers, **hit.dialect.identity(request_id)}
    return Response(body, error.status, headers, "application/xml")


def _as_signed(wire: Wire) -> Request:
    scope = wire.scope
    return Request(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=[
            (name.decode("latin-1"), text.decode("latin-1")) for name, text in scope["headers"]
        ],
    )


def _without(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[tuple[bytes, bytes]]:
    return [pair for pair in headers if pair[0].lower() != name]


def _length(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """The body's, as announced; 0 where it is not."""
    text = next((value for name, value in headers if name.lower() == b"content-length"), b"0")
    return int(text) if text.isdigit() else 0


def _length_of(size: int) -> tuple[bytes, bytes]:
    return b"content-length", str(size).encode()


def _other(etag: bytes, seed: str) -> bytes:
    """An ETag of the same form: its digest is another, its case and its number of parts stay."""
    digest, dash, parts = etag.decode("latin-1").strip('"').partition("-")
    other = hashlib.md5(f"{seed}{digest}".encode(), usedforsecurity=False).hexdigest()
    shown = other.upper() if digest.isupper() else other
    return f'"{shown}{dash}{parts}"'.encode()


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
