"""The object store's HTTP side: presigned GET and PUT, answered in a dialect.

Bytes are hashed and written on threads in large chunks, so that transfers in parallel use more than
one core and memory does not grow with file size.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
from email.utils import formatdate
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from plugin_framework.emulator.dialects import Dialect, ObjectStoreError, Request, parse_query
from plugin_framework.emulator.meter import CUT_SHORT, Meter, Transfer
from plugin_framework.emulator.objects import BlobWriter, Objects, StoredObject
from plugin_framework.emulator.parts import Parts
from plugin_framework.emulator.pending import Blob
from plugin_framework.emulator.receiving import received
from plugin_framework.emulator.sending import FileRange, in_thread
from plugin_framework.protocol.models import MAXIMUM_PARTS

PREFIX: Final = "/storage"
BUCKET: Final = "datahub"
LARGEST_PUT: Final = 5 * 1024**3
_MD5_SIZE: Final = 16
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)
_PART_NUMBER: Final = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


class Storage:
    """The ASGI application below ``/storage``."""

    def __init__(self, objects: Objects, parts: Parts, meter: Meter, dialect: Dialect) -> None:
        self._objects = objects
        self._parts = parts
        self._meter = meter
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever is refused is refused before its body is read."""
        request_id = secrets.token_hex(12).upper()
        request = HttpRequest(scope, receive)
        try:
            response = await self._answer(request)
        except ObjectStoreError as error:
            body = self._dialect.document(error, _as_signed(request), request_id)
            response = Response(body, error.status, error.headers, "application/xml")
        except ClientDisconnect:
            return
        response.headers.update(self._dialect.identity(request_id))
        await response(scope, receive, send)

    async def _answer(self, request: HttpRequest) -> Response:
        self._dialect.verify(_as_signed(request), time.time())
        key = _key(request)
        if request.method == "GET":
            stored = await in_thread(self._objects.find, key)
            return _get(request, stored, key, self._dialect.etag(stored.etag), self._meter)
        if request.method == "PUT":
            return await self._put(request, key)
        raise ObjectStoreError(
            405, "MethodNotAllowed", "The specified method is not allowed against this resource."
        )

    async def _put(self, request: HttpRequest, key: str) -> Response:
        size = _length(request.headers.get("content-length"))
        upload_id, number = _part(request)
        digest = _digest(request.headers.getlist("content-md5"))
        writer = await in_thread(self._writer, key, upload_id, number, size)
        transfer = self._meter.begin("put", key, number or None)
        try:
            blob = await received(request, writer, transfer.add)
            _check_digest(digest, blob)
            await in_thread(self._store, key, upload_id, number, blob)
        except BaseException as error:
            problem = error.code if isinstance(error, ObjectStoreError) else CUT_SHORT
            await in_thread(self._give_up, writer, transfer, problem)
            raise
        await in_thread(self._meter.end, transfer)
        return Response(headers={"ETag": self._dialect.etag(blob.etag)})

    def _give_up(self, writer: BlobWriter, transfer: Transfer, problem: str) -> None:
        writer.abandon()
        self._meter.end(transfer, problem)

    def _writer(self, key: str, upload_id: str | None, number: int, size: int) -> BlobWriter:
        if upload_id is not None:
            return self._parts.writer(key, upload_id, number, size)
        self._objects.check_writable(key)
        return self._objects.writer()

    def _store(self, key: str, upload_id: str | None, number: int, blob: Blob) -> None:
        if upload_id is None:
            self._objects.put(key, blob)
        else:
            self._parts.put(key, upload_id, number, blob)


def _as_signed(request: HttpRequest) -> Request:
    return Request(
        method=request.method,
        path=request.scope["raw_path"].decode("latin-1"),
        query=request.scope["query_string"].decode("latin-1"),
        headers=request.headers.items(),
    )


def _key(request: HttpRequest) -> str:
    path: str = request.scope["path"]
    bucket, _, key = path.removeprefix(PREFIX + "/").partition("/")
    if bucket != BUCKET:
        raise ObjectStoreError(
            404, "NoSuchBucket", "The specified bucket does not exist", {"BucketName": bucket}
        )
    return key


def _length(text: str | None) -> int:
    if text is None:
        raise ObjectStoreError(
            411, "MissingContentLength", "You must provide the Content-Length HTTP header."
        )
    if int(text) > LARGEST_PUT:
        raise ObjectStoreError(
            400,
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            {"ProposedSize": text, "MaxSizeAllowed": str(LARGEST_PUT)},
        )
    return int(text)


def _digest(given: list[str]) -> bytes | None:
    """The MD5 that the body is to have, where one is said."""
    if not given:
        return None
    text = ", ".join(given)
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != _MD5_SIZE:
        raise ObjectStoreError(
            400,
            "InvalidDigest",
            "The Content-MD5 you specified was invalid.",
            {"Content-MD5": text},
        )
    return digest


def _check_digest(expected: bytes | None, blob: Blob) -> None:
    found = bytes.fromhex(blob.etag.strip('"'))
    if expected is not None and expected != found:
        raise ObjectStoreError(
            400,
            "BadDigest",
            "The Content-MD5 you specified did not match what we received.",
            {
                "ExpectedDigest": base64.b64encode(expected).decode(),
                "CalculatedDigest": base64.b64encode(found).decode(),
            },
        )


def _part(request: HttpRequest) -> tuple[str | None, int]:
    """The upload id and part number of the query; no upload id for a single PUT."""
    query = dict(parse_query(request.scope["query_string"].decode("latin-1")))
    upload_id, number = query.get("uploadId"), query.get("partNumber")
    if upload_id is None and number is None:
        return None, 0
    if upload_id is None or number is None or not _is_part_number(number):
        raise ObjectStoreError(
            400,
            "InvalidArgument",
            "Part number must be an integer between 1 and 10000, inclusive",
            {"ArgumentName": "partNumber"},
        )
    return upload_id, int(number)


def _is_part_number(text: str) -> bool:
    return _PART_NUMBER.fullmatch(text) is not None and int(text) <= MAXIMUM_PARTS


def _get(request: HttpRequest, stored: StoredObject, key: str, etag: str, meter: Meter) -> Response:
    _check_if_match(request.headers.get("if-match"), etag)
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Last-Modified": formatdate(stored.modified, usegmt=True),
        "Content-Type": "binary/octet-stream",
    }
    span = _range(request.headers.get("range"), stored.size)
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{stored.size}"
    read = range(stored.size) if span is None else span
    headers["Content-Length"] = str(len(read))
    status = 200 if span is None else 206
    return FileRange(stored.path, read, key, meter, status, headers)


def _check_if_match(wanted: str | None, etag: str) -> None:
    if wanted is None or wanted.strip() == "*":
        return
    if etag.strip('"') not in {tag.strip().strip('"') for tag in wanted.split(",")}:
        raise ObjectStoreError(
            412,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
            {"Condition": "If-Match"},
        )


def _range(asked: str | None, size: int) -> range | None:
    """The bytes asked for; None for all of them, also where S3 ignores what it was asked."""
    match = _RANGE.fullmatch(asked.strip()) if asked is not None else None
    if asked is None or match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        span = range(max(0, size - int(last)), size)
    elif last and int(last) < int(first):
        return None
    else:
        span = range(int(first), min(size, int(last) + 1 if last else size))
    if not span:
        raise ObjectStoreError.invalid_range(asked, size)
    return span
