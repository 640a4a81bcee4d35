"""Sends parts of files: by the kernel alone where nobody else is to see the bytes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from io import FileIO
from pathlib import Path
from typing import Final, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from plugin_framework.emulator.meter import CUT_SHORT, Meter, Transfer

_READ_AT_ONCE: Final = 1024 * 1024
_SENT_AT_ONCE: Final = 8 * 1024 * 1024
_Given = TypeVar("_Given")


class FileRange(Response):
    """An answer whose body is the bytes ``span`` of a file."""

    def __init__(
        self, path: Path, span: range, key: str, meter: Meter, status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(None, status, headers)
        self._path = path
        self._span = span
        self._key = key
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, unless nobody is there any more."""
        del scope
        transfer = self._meter.begin("get", self._key)
        left = asyncio.create_task(_until_they_leave(receive))
        problem = CUT_SHORT
        try:
            with self._path.open("rb", buffering=0) as file:
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
                cycle = getattr(send, "__self__", None)
                if isinstance(cycle, RequestResponseCycle):
                    await self._send_by_kernel(file, cycle, transfer)
                else:
                    await self._send_in_chunks(file, send, left, transfer)
            problem = "" if transfer.bytes == len(self._span) else CUT_SHORT
        finally:
            left.cancel()
            await in_thread(self._meter.end, transfer, problem)

    async def _send_by_kernel(
        self, file: FileIO, cycle: RequestResponseCycle, transfer: Transfer
    ) -> None:
        """Past uvicorn, which ASGI gives no other way to have a file sent."""
        loop = asyncio.get_running_loop()
        for offset in range(self._span.start, self._span.stop, _SENT_AT_ONCE):
            count = min(_SENT_AT_ONCE, self._span.stop - offset)
            if cycle.disconnected or cycle.transport.is_closing():
                return
            try:
                sent = await loop.sendfile(cycle.transport, file, offset, count)
            except ConnectionError:
                cycle.transport.abort()
                return
            transfer.add(sent)
            cycle.expected_content_length -= sent
            if sent < count:
                raise _shorter()
        await cycle.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_in_chunks(
        self, file: FileIO, send: Send, left: asyncio.Task[None], transfer: Transfer
    ) -> None:
        """For whoever stands between: while one chunk goes out, the next is read."""
        async with aclosing(self._chunks(file)) as chunks:
            async for data, more in chunks:
                if left.done():
                    return
                await send({"type": "http.response.body", "body": data, "more_body": more})
                transfer.add(len(data))

    async def _chunks(self, file: FileIO) -> AsyncGenerator[tuple[bytes, bool]]:
        """Each with whether there are more of them; one that is empty where there is nothing."""
        offset = self._span.start
        reading = in_thread(self._read, file.fileno(), offset)
        try:
            while True:
                data = await reading
                offset += len(data)
                more = offset < self._span.stop
                if more and not data:
                    raise _shorter()
                if more:
                    reading = in_thread(self._read, file.fileno(), offset)
                yield data, more
                if not more:
                    return
        finally:
            await asyncio.wait({reading})  # the thread still holds the file

    def _read(self, fd: int, offset: int) -> bytes:
        return os.pread(fd, min(_READ_AT_ONCE, self._span.stop - offset), offset)


def in_thread(call: Callable[..., _Given], *arguments: object) -> asyncio.Future[_Given]:
    """Call it on a thread, which goes on even where nobody waits for it any more."""
    return asyncio.get_running_loop().run_in_executor(None, call, *arguments)


def _shorter() -> OSError:
    """Ending the connection is all that is left to say once the headers are out."""
    return OSError("the object is shorter than it was")


async def _until_they_leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
