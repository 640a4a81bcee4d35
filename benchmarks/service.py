"""How many create_task calls the service accepts in a second, and how long each takes at half that.

Each is answered when it is on disk. The calls come from a process of their own, over connections
that are kept, and all have a signature; a subtask that sleeps keeps the others waiting.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from tests.service.calling import ServiceProcess, signed
from tests.service.hub import Hub

SECONDS = float(os.environ.get("SECONDS", "10"))
CONNECTIONS = 32
HALF = 500
PLUGIN = "benchmarks.plugins:HoldGil"


@dataclass(slots=True)
class Connection:
    """A kept connection, with at most one call on it; times are monotonic seconds."""

    socket: socket.socket
    due: float = 0.0
    received: bytearray = field(default_factory=bytearray)


class Generator:
    """Makes calls at a rate, in calls a second; 0 is as fast as they are answered."""

    def __init__(self, port: int, rate: float, *, distinct: bool) -> None:
        self._rate = rate
        self._distinct = distinct
        self._sent = 0
        self._waits: list[float] = []
        self._refused = 0
        self._free: deque[Connection] = deque()
        self._selector = selectors.DefaultSelector()
        for _ in range(CONNECTIONS):
            one = Connection(socket.create_connection(("127.0.0.1", port)))
            one.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(one.socket, selectors.EVENT_READ, one)
            self._free.append(one)

    def run(self, seconds: float) -> dict[str, float]:
        """The figures of so many seconds."""
        began = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            while self._free and (due := self._due(began, now)) <= now:
                self._send(self._free.popleft(), due)
            for key, _ in self._selector.select(0.001 if self._rate else 1):
                self._receive(key.data)
        waits = sorted(self._waits)
        return {
            "per second": len(waits) / seconds,
            "median ms": waits[len(waits) // 2] * 1000,
            "p99 ms": waits[int(len(waits) * 0.99)] * 1000,
            "refused": self._refused,
        }

    def _due(self, began: float, now: float) -> float:
        # A call that is sent late because others take long counts from when it was due.
        return began + self._sent / self._rate if self._rate else now

    def _send(self, one: Connection, due: float) -> None:
        self._sent += 1
        one.due = due
        config = {"seconds": 1 + (self._sent if self._distinct else self._sent % 10)}
        name = f"call-{os.getpid()}-{self._sent}"
        body = json.dumps({"subtask_id": name, "config": config}).encode()
        lines = "".join(f"{k}: {v}\r\n" for k, v in signed({}, body, int(time.time())).items())
        head = (
            "POST /api/plugin/create_task HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        )
        one.socket.sendall(head.encode() + body)

    def _receive(self, one: Connection) -> None:
        one.received += one.socket.recv(65536)
        head, end, body = bytes(one.received).partition(b"\r\n\r\n")
        if not end or not body.endswith(b"}"):
            return
        self._waits.append(time.monotonic() - one.due)
        self._refused += b'"code": 0' not in body or not head.startswith(b"HTTP/1.1 200")
        one.received.clear()
        self._free.append(one)


def processor_seconds(pid: int) -> float:
    """What a process has used of the processors: on a busy machine more telling than the rate."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(port: int, rate: float, *, distinct: bool) -> dict[str, float]:
    """Have another process make the calls."""
    command = [sys.executable, "-m", "benchmarks.service", str(port), str(rate), str(int(distinct))]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, float] = json.loads(printed)
    return figures


def main() -> None:
    """Print what is accepted."""
    options = {"DATAHUB_MAX_CONCURRENCY": "1", "DATAHUB_MAX_QUEUE": "1000000"}
    for rate, distinct in ((0, False), (0, True), (HALF, False), (HALF, True)):
        with (
            Hub() as hub,
            tempfile.TemporaryDirectory() as state,
            ServiceProcess(Path(state), hub.url, PLUGIN, **options) as service,
        ):
            assert service.call.create("sleeps", {"seconds": 3600}).fate == (200, 0)
            hub.told("sleeps", 1)
            before = processor_seconds(service.process.pid)
            figures = measure(service.call.address[1], rate, distinct=distinct)
            spent = processor_seconds(service.process.pid) - before
            figures["processor ms a call"] = spent / SECONDS / figures["per second"] * 1000
            service.kill()
        configs = "each its own config" if distinct else "ten configs in turn"
        asked = f"{rate} calls a second asked for" if rate else "as many calls as are answered"
        said = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
        print(f"{asked}, {configs}: {said}")


if __name__ == "__main__":
    if sys.argv[1:]:
        target, speed, differ = sys.argv[1:]
        generator = Generator(int(target), float(speed), distinct=bool(int(differ)))
        print(json.dumps(generator.run(SECONDS)))
    else:
        main()
