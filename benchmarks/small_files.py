"""A thousand small files: one after the other, and side by side, with and without latency."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.plugins import SmallFiles
from plugin_framework import Settings, run_task

FILES = 1000
SIZE = 10_000
ROUNDS = 3
DELAYS = (0.0, 0.005)
"""Seconds before each answer, of Datahub and of storage."""


def main() -> None:
    """Print seconds and calls for both ways, interleaved, and how much faster the second is."""
    print(" delay  one by one  side by side  ratio   calls  connections")
    for delay in DELAYS:
        slow, fast = [], []
        for _ in range(ROUNDS):
            slow.append(measure(delay, by_hand=True))
            fast.append(measure(delay, by_hand=False))
        one, many = (statistics.median(each.seconds for each in way) for way in (slow, fast))
        calls, connections = fast[-1].calls / FILES, fast[-1].connections
        print(
            f"{delay * 1000:>3.0f} ms{one:>10.2f} s{many:>12.2f} s{one / many:>7.1f}"
            f"{calls:>8.1f}{connections:>13}"
        )


@dataclass
class Seen:
    """What a server saw of one run: seconds from the first upload call to the last."""

    seconds: float = 0.0
    calls: int = 0
    connections: int = 0
    began: float = field(default=0.0, repr=False)


def measure(delay: float, *, by_hand: bool) -> Seen:
    """One run over a server that waits ``delay`` seconds before each answer."""
    with tempfile.TemporaryDirectory() as folder, serving(delay) as (url, ask):
        settings = Settings(base_url=url, state_dir=Path(folder), log_level="ERROR")
        config = {"files": FILES, "size": SIZE, "by_hand": by_hand}
        outcome = run_task(SmallFiles, subtask_id="small", settings=settings, config=config)
        if len(outcome.outputs) != FILES or outcome.exit_code:
            raise SystemExit(f"the run failed: {outcome.error}")
        ask.send(None)
        seen: Seen = ask.recv()
        return seen


@contextmanager
def serving(delay: float) -> Iterator[tuple[str, Connection]]:
    """A Datahub and a store in a process of their own: they must not share our interpreter."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, delay))
    process.start()
    theirs.close()  # so that its end is noticed
    try:
        yield f"http://127.0.0.1:{ours.recv()}", ours
    finally:
        process.kill()
        process.join()


def _serve(pipe: Connection, delay: float) -> None:
    asyncio.run(_Server(delay).run(pipe))


class _Server:
    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._seen = Seen()
        self._url = ""

    async def run(self, pipe: Connection) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        pipe.send(port)
        await asyncio.to_thread(pipe.recv)
        pipe.send(self._seen)
        await asyncio.Event().wait()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uploads = False
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                if b"/upload/" in head.partition(b"\r\n")[0] or head.startswith(b"put "):
                    self._count(first=not uploads)
                    uploads = True
                if self._delay:
                    await asyncio.sleep(self._delay)
                writer.write(self._answer(head, body))
        except asyncio.IncompleteReadError:
            writer.close()

    def _count(self, *, first: bool) -> None:
        now = time.perf_counter()
        self._seen.began = self._seen.began or now
        self._seen.seconds = now - self._seen.began
        self._seen.calls += 1
        self._seen.connections += first

    def _answer(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"put "):
            return b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n'
        data: dict[str, object] = {"status": 1}
        if b"/upload/init" in head:
            name = json.loads(body)["file_name"]
            data = {"upload_id": name, "part_upload_urls": [f"{self._url}/store/{name}"]}
        text = json.dumps({"code": 0, "msg": "success", "data": data}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)


if __name__ == "__main__":
    main()
