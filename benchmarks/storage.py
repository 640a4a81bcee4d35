"""The local storage beside SeaweedFS: parts of 16 MiB up and down, in turn, and the memory peak."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from plugin_framework.emulator import Emulator
from plugin_framework.transfer.engine import Engine, EngineOptions
from plugin_framework.transfer.exchange import Answer, BinaryWindow
from tests.dialects.signers import with_boto3
from tests.dialects.stores import RunningStore, seaweedfs
from tests.emulator.calling import Plugin

MIB = 1024 * 1024
PART = 16 * MIB
SIZE = int(os.environ.get("BENCH_MIB", "256")) * MIB
LARGE = 5 * 1024 * MIB
ROUNDS = int(os.environ.get("ROUNDS", "3"))
WIDTHS = (1, 4)
MEMORY = Path("/dev/shm")


class Place(Protocol):
    """Where an object can be sent to, and had from."""

    pid: int

    def begin(self, size: int) -> Sequence[str]:
        """Begin an upload of that many bytes: a URL for each part."""

    def complete(self, etags: Sequence[str]) -> str:
        """Make the object of its parts; a URL to get it by."""

    def remove(self) -> None:
        """Free the memory it takes."""


class Local:
    """The emulator's own storage; what its methods do is said above."""

    def __init__(self, emulator: Emulator) -> None:
        self.pid = emulator.pid
        self._emulator = emulator
        self._plugin = Plugin(emulator.url)
        self._count = 0
        self._upload_id = ""

    def begin(self, size: int) -> Sequence[str]:
        """At the API."""
        self._count += 1
        self._emulator.store.create_subtask(self._subtask)
        self._plugin.status(self._subtask, 1)
        data = self._plugin.init(self._subtask, size, chunk_size=PART).data
        self._upload_id = data["upload_id"]
        return [part["url"] for part in data["part_upload_urls"]]

    def complete(self, etags: Sequence[str]) -> str:
        """And have it as an input."""
        assert self._plugin.complete(self._subtask, self._upload_id, etags).data
        (output,) = self._emulator.store.outputs(self._subtask)
        again = f"{self._subtask}-again"
        self._emulator.store.create_subtask(again, input=output.path)
        return self._plugin.download_url(again)

    def remove(self) -> None:
        """All of its files."""
        for path in self._emulator.store.objects.path("").iterdir():
            path.unlink()

    @property
    def _subtask(self) -> str:
        return f"subtask-{self._count}"


class Real:
    """A real store, likewise."""

    def __init__(self, store: RunningStore) -> None:
        self.pid = store.pid
        self._client = store.client
        self._sign = with_boto3(store.account)
        self._object = {"Bucket": store.account.bucket, "Key": "object"}
        self._upload_id = ""

    def begin(self, size: int) -> Sequence[str]:
        """At the store."""
        self._upload_id = self._client.create_multipart_upload(**self._object)["UploadId"]
        numbers = range(1, -(-size // PART) + 1)
        params = [{"partNumber": str(each), "uploadId": self._upload_id} for each in numbers]
        return [self._sign("PUT", "object", each) for each in params]

    def complete(self, etags: Sequence[str]) -> str:
        """At the store."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        self._client.complete_multipart_upload(
            **self._object, UploadId=self._upload_id, MultipartUpload={"Parts": parts}
        )
        return self._sign("GET", "object", {})

    def remove(self) -> None:
        """The one object."""
        self._client.delete_object(**self._object)


@dataclass(slots=True)
class Found:
    """Seconds of each round."""

    up: list[float] = field(default_factory=list)
    complete: list[float] = field(default_factory=list)
    down: list[float] = field(default_factory=list)


class Nowhere:
    """Counts a body and forgets it."""

    def __init__(self) -> None:
        self.count = 0

    def begin(self, answer: Answer) -> bool:
        """Take what is no refusal."""
        return answer.ok

    def write(self, data: memoryview) -> object:
        """Count it."""
        self.count += len(data)
        return None


def main() -> None:
    """Print rates, ratios and peaks; LARGE=1 tries an object of 5 GiB too."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_folder())))
        source = folder / "source"
        source.write_bytes(os.urandom(PART))
        places = stack.enter_context(_places(folder))
        engine = Engine(EngineOptions(allow_private=True, concurrency=max(WIDTHS)))
        stack.enter_context(closing(engine))
        bench = Bench(engine, source)
        print(f"idle: {peak_memory(places['local'].pid):.0f} MiB")
        print(f"{SIZE // MIB} MiB in parts of 16 MiB, {ROUNDS} rounds; MiB/s, medians")
        print("at once  way        local  SeaweedFS  ratio (least)  local's peak")
        for width in WIDTHS:
            bench.compare(places, width)
        if os.environ.get("LARGE"):
            bench.large(places["local"])


class Bench:
    """Moves objects by this project's transfer engine."""

    def __init__(self, engine: Engine, source: Path) -> None:
        self._engine = engine
        self._source = source

    def compare(self, places: dict[str, Place], width: int) -> None:
        """One row for each way."""
        found = {name: Found() for name in places}
        for number in range(ROUNDS + 1):
            for name in sorted(places, reverse=bool(number % 2)):
                # The first round warms up: memory is touched for the first time there.
                self.once(places[name], SIZE, width, found[name] if number else Found())
        peak = peak_memory(places["local"].pid)
        for way in ("up", "down"):
            ours, theirs = (getattr(found[name], way) for name in ("local", "seaweedfs"))
            ratios = [second / first for first, second in zip(ours, theirs, strict=True)]
            rates = [SIZE / MIB / statistics.median(each) for each in (ours, theirs)]
            print(
                f"{width:>7}  {way:<9}{rates[0]:>7.0f}{rates[1]:>11.0f}"
                f"{statistics.median(ratios):>7.2f} ({min(ratios):.2f}){peak:>11.0f} MiB"
            )
        print(f"{width:>7}  complete {1000 * statistics.median(found['local'].complete):.0f} ms")

    def once(self, place: Place, size: int, width: int, found: Found) -> None:
        """Up, completed, down, removed."""
        urls, etags = place.begin(size), []
        with ThreadPoolExecutor(width) as pool:
            began = time.perf_counter()
            etags = list(pool.map(self._put, urls))
            sent = time.perf_counter()
            url = place.complete(etags)
            completed = time.perf_counter()
            counts = list(pool.map(lambda start: self._get(url, start), range(0, size, PART)))
            received = time.perf_counter()
        assert sum(counts) == size
        found.up.append(sent - began)
        found.complete.append(completed - sent)
        found.down.append(received - completed)
        place.remove()

    def large(self, place: Place) -> None:
        """An object of 5 GiB."""
        found = Found()
        self.once(place, LARGE, max(WIDTHS), found)
        print(
            f"5 GiB: up {found.up[0]:.1f} s, complete {found.complete[0]:.2f} s,"
            f" down {found.down[0]:.1f} s, local's peak {peak_memory(place.pid):.0f} MiB"
        )

    def _put(self, url: str) -> str:
        with self._source.open("rb") as file:
            answer = self._engine.put(url, BinaryWindow(file.fileno(), 0, PART), lambda: False)
        assert answer.ok, answer.body
        return answer.headers["etag"]

    def _get(self, url: str, start: int) -> int:
        sink = Nowhere()
        self._engine.get(url, sink=sink, abort=lambda: False, start=start, end=start + PART - 1)
        return sink.count


def peak_memory(pid: int) -> float:
    """The most resident memory that a process had, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def _places(folder: Path) -> Iterator[dict[str, Place]]:
    (folder / "seaweedfs").mkdir()
    with (
        Emulator(state_dir=folder / "local") as emulator,
        seaweedfs(folder / "seaweedfs") as store,
    ):
        yield {"local": Local(emulator), "seaweedfs": Real(store)}


def _folder() -> Path:
    """On a tmpfs, so that no disk is measured."""
    return Path(os.environ.get("BENCH_DIR", MEMORY if MEMORY.is_dir() else tempfile.gettempdir()))


if __name__ == "__main__":
    main()
