"""A WARC file that a killed attempt leaves in a state which the next one can go on with."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any, Self

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from plugin_framework import TaskContext

WARC = "pages.warc.gz"
INDEX = "pages.jsonl"

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer; ``body`` of ``size`` bytes, still compressed where it was."""

    address: str
    request: tuple[str, Headers]
    answer: tuple[str, Headers]
    body: IO[bytes]
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one page: ``status`` of its last answer, or the ``reason`` it has none."""

    page: str
    address: str
    status: int | None = None
    reason: str | None = None


class WarcFile:
    """The archive, and an index of its pages; both only grow.

    After each page, the length of both goes into the state. What a killed attempt wrote beyond
    that is half a page: it is cut off, and the page fetched again. A WARC file allows for that,
    as it is a sequence of records, each compressed by itself.
    """

    def __init__(self, ctx: TaskContext[Any]) -> None:
        self._ctx = ctx
        self._paths = [ctx.work_dir / WARC, ctx.work_dir / INDEX]
        self._files: list[IO[bytes]] = []
        self._closing = ExitStack()
        self.entries: dict[str, Entry] = {}

    def __enter__(self) -> Self:
        lengths = self._ctx.state.get("lengths", [0, 0])
        if any(map(_is_shorter, self._paths, lengths)):
            lengths = [0, 0]
        for path, length in zip(self._paths, lengths, strict=True):
            self._files.append(self._closing.enter_context(_open_at(path, length)))
        self.entries = _read_index(self._paths[1])
        if lengths == [0, 0]:
            self._write_info()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.close()

    def add(self, entry: Entry, exchanges: Sequence[Exchange]) -> None:
        """Write a page and all that led to it, and note that it is there."""
        for exchange in exchanges:
            self._write(exchange)
        line = json.dumps(asdict(entry), ensure_ascii=False)
        self._files[1].write(f"{line}\n".encode())
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())  # the state must not tell of what a power cut takes away
        self._ctx.save_state(lengths=[file.tell() for file in self._files])
        self.entries[entry.page] = entry

    def _write_info(self) -> None:
        facts = {
            "software": "datahub-example-plugins web-archive",
            "format": "WARC File Format 1.1",
        }
        writer = self._writer()
        writer.write_record(writer.create_warcinfo_record(WARC, facts))

    def _write(self, exchange: Exchange) -> None:
        writer = self._writer()
        line, headers = exchange.request
        asked = StatusAndHeaders(line, headers, is_http_request=True)
        request = writer.create_warc_record(exchange.address, "request", http_headers=asked)
        line, headers = exchange.answer
        answer = StatusAndHeaders(line, headers, protocol="HTTP/1.1")
        response = writer.create_warc_record(
            exchange.address,
            "response",
            payload=exchange.body,
            length=exchange.size,
            http_headers=answer,
        )
        writer.write_request_response_pair(request, response)

    def _writer(self) -> WARCWriter:
        return WARCWriter(self._files[0], gzip=True, warc_version="1.1")


def _is_shorter(path: Path, length: int) -> bool:
    return (path.stat().st_size if path.exists() else 0) < length


def _open_at(path: Path, length: int) -> IO[bytes]:
    """The file, cut to its first ``length`` bytes, to go on writing."""
    path.touch()
    file = path.open("r+b")
    file.truncate(length)
    file.seek(length)
    return file


def _read_index(path: Path) -> dict[str, Entry]:
    with path.open(encoding="utf-8") as lines:
        entries = [Entry(**json.loads(line)) for line in lines]
    return {entry.page: entry for entry in entries}
