"""The service and the Datahub of the soak: started, ended and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from plugin_framework.emulator import Emulator

KEY, SECRET = "soak", "soak-secret"
COMMAND = (sys.executable, "-m", "plugin_framework")
SERVICE = {
    "HEARTBEAT_SECONDS": "1",
    "POLL_SECONDS": "1",
    "MAX_CONCURRENCY": "8",
    "GRACE_SECONDS": "2",
    "ON_SHUTDOWN": "leave",
    "TRANSFER__CHUNK_SIZE": "5MiB",
    "LOG_LEVEL": "WARNING",
    "LOG_FORMAT": "json",
}
WEATHER: list[dict[str, Any]] = [
    {"fault": "status", "call": "api", "status": 503, "probability": 0.02},
    {"fault": "status", "call": "api", "status": 429, "retry_after": 1, "probability": 0.01},
    {"fault": "code", "call": "api", "code": 500, "probability": 0.01},
    {"fault": "reset", "call": "api", "applied": True, "probability": 0.01},
    {"fault": "garbage", "call": "api", "probability": 0.01},
    {"fault": "truncate", "call": "api", "probability": 0.01},
    {"fault": "truncate", "call": "get", "probability": 0.05},
    {"fault": "ignore_range", "subtask": "*-copy", "probability": 0.05},
    {"fault": "reset", "call": "put", "bytes": 1000, "probability": 0.03},
    {"fault": "reset", "call": "put", "applied": True, "probability": 0.02},
    {"fault": "slow_down", "probability": 0.02},
    # A fresh URL that has expired at once, too, is refused for good: that is no weather.
    {"fault": "expire", "probability": 0.1, "each": "object", "count": 1},
    {"fault": "trickle", "call": "storage", "bytes_per_second": 2_000_000, "probability": 0.02},
    {"fault": "drop", "call": "service", "probability": 0.03},
    {"fault": "drop", "call": "service", "applied": True, "probability": 0.03},
    {"fault": "repeat", "call": "service", "probability": 0.03},
]
READY_SECONDS = 60.0
PRUNED_SECONDS = 60.0
"""An operator's timer removes from the journal what has ended so long ago."""


class Service:
    """``datahub-plugin serve`` on one port, started again whenever it was killed."""

    def __init__(self, place: Path, datahub: str, plugins: tuple[str, ...], port: int) -> None:
        self.state = place / "state"
        self.url = f"http://127.0.0.1:{port}"
        self.log = place / "service.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DATAHUB_")}
        given = {"BASE_URL": datahub, "API_KEY": KEY, "API_SECRET": SECRET, **SERVICE}
        given["STATE_DIR"] = str(self.state)
        self.env = clean | {f"DATAHUB_{name}": value for name, value in given.items()}
        self._argv = [*COMMAND, "serve", *plugins, "--port", str(port)]
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it; it is ready by and by."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._argv, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    def end(self, number: signal.Signals) -> int:
        """Signal it, and wait for its end; its exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return -signal.SIGALRM

    def wait(self) -> None:
        """Wait until it is ready.

        Raises:
            TimeoutError: it is not.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_alive():
            if time.monotonic() > deadline:
                raise TimeoutError(self.log.read_text(errors="replace"))
            time.sleep(0.1)

    def prune(self) -> None:
        """Do as an operator's timer does."""
        argv = [*COMMAND, "journal", "prune", "--older-than", f"{PRUNED_SECONDS / 86_400:f}"]
        subprocess.run(argv, env=self.env, check=False, capture_output=True, timeout=120)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Its log; what is no JSON is a line without anything."""
        with self.log.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                yield json.loads(line) if line.startswith("{") else {}

    def said_of(self, name: str) -> list[str]:
        """The latest lines of its log about a subtask."""
        return [said["message"] for said in self.lines() if said.get("subtask_id") == name][-3:]

    def is_alive(self) -> bool:
        """Whether it says so; its figures are asked for as well, as a monitor would."""
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/live", timeout=5) as answer:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as figures:
                figures.read()
            return int(answer.status) == 200  # noqa: PLR2004 - OK
        return False


class Datahub:
    """The local Datahub on one port, with bad weather; it can be gone for a while."""

    def __init__(self, place: Path, port: int, service: str, seed: int) -> None:
        self._options: dict[str, Any] = {
            "state_dir": place / "datahub",
            "key": KEY,
            "secret": SECRET,
            "port": port,
            "services": [service],
        }
        self._seed = seed
        self._emulator: Emulator | None = None
        self.faults: Counter[str] = Counter()

    def start(self) -> None:
        """Be there."""
        if self._emulator is None:
            rules = {"seed": self._seed, "rules": WEATHER}
            self._emulator = Emulator(**self._options, chaos=rules).__enter__()

    def stop(self) -> None:
        """Be gone: connections are refused."""
        if self._emulator is not None:
            self._count()
            self._emulator.__exit__(None, None, None)
            self._emulator = None

    def reset_for(self, seconds: float) -> None:
        """Reset all calls for a while."""
        outage = {"name": "outage", "fault": "outage", "call": "api", "until": seconds}
        self._set([*WEATHER, outage])

    def clear_up(self) -> None:
        """Be well from now on."""
        self.start()
        self._set([])

    def _set(self, rules: list[dict[str, Any]]) -> None:
        if self._emulator is not None:
            self._count()
            self._emulator.set_chaos({"seed": self._seed, "rules": rules}, keep=True)

    def _count(self) -> None:
        if self._emulator is not None:
            for one in self._emulator.chaos["counters"]:
                self.faults[one["name"].rpartition("-")[0] or one["name"]] += one["injected"]
