"""A request's body on its way to disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.requests import Request

from plugin_framework.emulator.objects import BlobWriter
from plugin_framework.emulator.pending import Blob
from plugin_framework.emulator.sending import in_thread

_CHUNK: Final = 1024 * 1024


async def received(
    request: Request, writer: BlobWriter, moved: Callable[[int], object] = lambda _count: None
) -> Blob:
    """Write the body to a blob: while one chunk is hashed and written, the next is received.

    ``moved`` is told bytes as they come. Whatever is raised, no thread uses ``writer`` any more,
    and it is the caller's to abandon.
    """
    written: asyncio.Future[None] | None = None
    try:
        async for chunk in _chunks(request):
            if written is not None:
                await written
            written = in_thread(writer.write, chunk)
            moved(len(chunk))
        if written is not None:
            await written
    except BaseException:
        if written is not None:
            await asyncio.wait({written})  # the thread still holds the file
        raise
    return writer.finish()


async def _chunks(request: Request) -> AsyncIterator[bytearray]:
    gathered = bytearray()
    async for data in request.stream():
        gathered += data
        if len(gathered) >= _CHUNK:
            yield gathered
            gathered = bytearray()
    if gathered:
        yield gathered
