"""How a file is cut into parts (uploads) and ranges (downloads). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from plugin_framework.errors import TransferError

MIB = 1024 * 1024

PART_MINIMUM = 5 * MIB
"""Bytes: the smallest part of a multipart upload, but the last (PROTOCOL.md, 1.1)."""

PART_LIMIT = 10_000
"""The most parts that object stores take in one upload."""

CHUNK = 16 * MIB
"""Bytes of a part or a range where nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Part:
    """``size`` bytes from ``offset``; ``index`` counts from 1."""

    index: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """The offset just after the last byte."""
        return self.offset + self.size


def chunk_size_for(size: int, asked: int | None = None) -> int | None:
    """Bytes per part of a file of ``size`` bytes; None when a single upload will do.

    What is ``asked`` for is raised to the 5 MiB minimum, and by whole MiB so far that there are no
    more than 10,000 parts.
    """
    chunk = max(asked or CHUNK, PART_MINIMUM)
    if chunk * PART_LIMIT < size:
        chunk = -(-size // (PART_LIMIT * MIB)) * MIB
    return None if size <= chunk else chunk


def parts(size: int, chunk: int | None) -> list[Part]:
    """The parts of a file of ``size`` bytes; an empty file is one part of no bytes."""
    return ranges(0, size, chunk or max(size, 1)) or [Part(index=1, offset=0, size=0)]


def parts_for(size: int, chunk: int | None, urls: int) -> list[Part]:
    """The parts of a file of ``size`` bytes for which Datahub gave so many URLs.

    ``chunk`` is what Datahub said of their size, or else what it was asked for. Any other number of
    URLs leaves open which bytes belong where, so it is refused and not guessed at.

    Raises:
        TransferError: the URLs are more or fewer than the parts, or than stores take.
    """
    if chunk is not None and chunk < 1:
        raise TransferError(f"Datahub asks for parts of {chunk} bytes")
    count = max(1, -(-size // chunk)) if chunk else 1
    if count != urls:
        raise TransferError(f"{_counted(count, 'part')}, but Datahub gave {_counted(urls, 'URL')}")
    if count > PART_LIMIT:
        raise TransferError(f"{count} parts are more than the {PART_LIMIT} that stores take")
    return parts(size, chunk)


def ranges(start: int, size: int, chunk: int, *, first: int = 1) -> list[Part]:
    """The pieces of at most ``chunk`` bytes that cover ``start`` up to ``size``.

    They are counted from ``first``.
    """
    offsets = range(start, size, chunk)
    return [Part(i, offset, min(chunk, size - offset)) for i, offset in enumerate(offsets, first)]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
