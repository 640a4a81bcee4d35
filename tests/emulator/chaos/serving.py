"""A Datahub in this process, behind either of uvicorn's parsers, and rules set straight on it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import SecretStr

from plugin_framework import DatahubPlugin, TaskOutcome
from plugin_framework.emulator import Credentials, Store, create_app
from plugin_framework.emulator.app import ACCESS_KEY
from plugin_framework.emulator.chaos import Chaos
from plugin_framework.emulator.chaos.middleware import ChaosMiddleware
from plugin_framework.emulator.dialects import Bucket, dialect_named
from plugin_framework.emulator.storage import BUCKET, PREFIX
from plugin_framework.engines.local import LocalEngine
from plugin_framework.settings import Settings, load_settings
from tests.emulator.calling import Plugin

KEY, SECRET = "key", "secret"
QUICK: Mapping[str, Any] = {
    "api_key": KEY,
    "api_secret": SecretStr(SECRET),
    "isolation": "thread",
    "heartbeat_seconds": 5,
    "poll_seconds": 0,
    "startup_deadline": 20,
    "delivery_deadline": 20,
    "request_deadline": 2,
}


@dataclass(frozen=True)
class Served:
    url: str
    store: Store
    chaos: Chaos

    @property
    def plugin(self) -> Plugin:
        return Plugin(self.url, KEY, SECRET)

    def set(self, *rules: Mapping[str, Any], seed: int = 0) -> None:
        self.chaos.set({"seed": seed, "rules": list(rules)})

    def injected(self) -> list[int]:
        """How many requests each rule has hit."""
        return [counter["injected"] for counter in self.chaos.as_json()["counters"]]

    def faults_of(self, subtask: str) -> list[dict[str, Any]]:
        """What its timeline says of faults."""
        return [event.detail for event in self.store.events(subtask) if event.kind == "fault"]

    def settings(self, state_dir: Path, **changes: Any) -> Settings:
        return load_settings(**{**QUICK, "base_url": self.url, "state_dir": state_dir, **changes})

    def run(
        self, plugin: type[DatahubPlugin], subtask: str, state_dir: Path, **changes: Any
    ) -> TaskOutcome:
        """A real run of the framework: its API client is httpx, its transfers are libcurl's."""
        with LocalEngine(plugin, self.settings(state_dir, **changes)) as engine:
            return engine.run(subtask).execute()


@contextmanager
def served(folder: Path, *, http: str = "h11", dialect: str = "s3") -> Iterator[Served]:
    """Serve until the block ends."""
    store, chaos = Store(folder / "datahub"), Chaos()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = create_app(store, credentials=Credentials(KEY, SECRET), public_url=url, dialect=dialect)
    bucket = Bucket(f"{url}{PREFIX}/{BUCKET}")
    storage = dialect_named(dialect, bucket, ACCESS_KEY, store.storage_secret)
    faulty = ChaosMiddleware(app, chaos=chaos, ledger=store.faults, dialect=storage)
    config = uvicorn.Config(
        faulty,
        http=http,
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=0,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield Served(url, store, chaos)
    finally:
        server.should_exit = True
        thread.join()
        store.close()
