"""Files in and out: inputs that people hand in, and what plugins made of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from plugin_framework.emulator.dialects import ObjectStoreError
from plugin_framework.emulator.local_api.answers import (
    BAD_GATEWAY,
    NOT_FOUND,
    Problem,
    answer,
    get,
    path_of,
)
from plugin_framework.emulator.local_api.tasks import subtask_of
from plugin_framework.emulator.pending import Blob
from plugin_framework.emulator.receiving import received
from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.store import Store

LONGEST_NAME: Final = 255
_CHUNK: Final = 1024 * 1024
_LENGTH_REQUIRED: Final = 411
_NO_ROOM: Final = 507
_BYTES: Final = "application/octet-stream"


class Attachment(FileResponse):
    """A file to keep. Whatever is in it, a browser does not show it, and runs nothing of it."""

    chunk_size = _CHUNK

    def __init__(self, path: Path, name: str) -> None:
        try:
            facts = path.stat()
        except OSError:
            raise Problem("the file is no longer there", NOT_FOUND) from None
        super().__init__(path, headers=_kept_as(name), media_type=_BYTES, stat_result=facts)


class Fetched(StreamingResponse):
    """The same, for an object that is in a real store."""

    def __init__(self, store: Store, key: str, name: str, size: int | None) -> None:
        content = store.read(key)
        try:
            first = next(content, b"")
        except Refused as refused:
            raise Problem(refused.message, BAD_GATEWAY) from None
        headers = _kept_as(name) | ({} if size is None else {"Content-Length": str(size)})
        super().__init__(chain([first], content), headers=headers, media_type=_BYTES)


def _kept_as(name: str) -> dict[str, str]:
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "sandbox",
    }


class Files:
    """The routes of inputs and outputs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        """What to serve."""
        one = "/local/tasks/{id}"
        return [
            Route("/local/inputs", self._put, methods=["PUT"]),
            get(f"{one}/outputs", self._outputs),
            get(f"{one}/outputs/{{number:int}}", self._output),
            get(f"{one}/input", self._input),
        ]

    async def _put(self, request: Request) -> Response:
        name = _file_name(request.query_params)
        if request.headers.get("content-length") is None:
            raise Problem("Content-Length is required", _LENGTH_REQUIRED)
        try:
            blob = await self._received(request)
        except OSError as error:
            raise Problem(f"the file cannot be kept: {error.strerror}", _NO_ROOM) from None
        given = await run_in_threadpool(self._store.inputs.add, name, blob)
        return answer({"input": given.key, "size": given.size}, 201)

    async def _received(self, request: Request) -> Blob:
        writer = self._store.objects.writer()
        try:
            return await received(request, writer)
        except BaseException:
            writer.abandon()
            raise

    def _outputs(self, request: Request) -> list[dict[str, Any]]:
        subtask_id = subtask_of(self._store, request).subtask_id
        return [
            {
                "number": output.number,
                "name": output.name,
                "size": output.size,
                "href": path_of(subtask_id, f"/outputs/{output.number}"),
            }
            for output in self._store.outputs(subtask_id)
        ]

    def _output(self, request: Request) -> Response:
        subtask_id = subtask_of(self._store, request).subtask_id
        for output in self._store.outputs(subtask_id):
            if output.number == request.path_params["number"]:
                if output.file is None:
                    return Fetched(self._store, output.key, output.name, output.size)
                return Attachment(output.file, output.name)
        raise Problem("there is no such output", NOT_FOUND)

    def _input(self, request: Request) -> Response:
        subtask = subtask_of(self._store, request)
        if subtask.input_key is None or subtask.input_name is None:
            raise Problem("the task has no input", NOT_FOUND)
        if self._store.bucket is not None:
            key, name, size = subtask.input_key, subtask.input_name, subtask.input_size
            return Fetched(self._store, key, name, size)
        try:
            stored = self._store.objects.find(subtask.input_key)
        except ObjectStoreError:
            raise Problem("the file is no longer there", NOT_FOUND) from None
        return Attachment(stored.path, subtask.input_name)


def _file_name(query: Mapping[str, str]) -> str:
    name = query.get("name", "")
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise Problem(f"name: expected a file name of 1 to {LONGEST_NAME} printable characters")
    return name
