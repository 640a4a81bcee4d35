"""Real runs of a plugin under each fault: they end as they should, their bytes are right.

All of them at once: each rule is for one subtask.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plugin_framework import DatahubPlugin, TaskContext, TaskOutcome, TaskResult, TaskStatus
from plugin_framework.emulator.chaos.rules import FAULTS
from plugin_framework.emulator.chaos.target import SERVICE
from plugin_framework.engines.local import LocalEngine
from tests.emulator.calling import eventually
from tests.emulator.chaos.serving import Served, served

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * 4096 * 6  # 6 MiB: two parts
SETTINGS: Mapping[str, Any] = {"transfer": {"chunk_size": "5MiB"}, "request_deadline": 1}
AT_ONCE = 12
Rule = dict[str, Any]


class Copy(DatahubPlugin):
    """Stores its input once more, in two parts, and a small file."""

    def process(self, ctx: TaskContext[Any]) -> TaskResult:
        data = ctx.download().read_bytes()
        (ctx.output_dir / "copy.bin").write_bytes(data)
        (ctx.output_dir / "small.txt").write_text("small")
        return TaskResult(total_counts=len(data))


COMPLETED: Mapping[str, tuple[Rule, ...]] = {
    "delay before": ({"fault": "delay", "seconds": 0.05, "count": 5},),
    "delay in the body": (
        {"fault": "delay", "call": "get", "at": "body", "seconds": 0.2},
        {"fault": "delay", "call": "put", "at": "body", "seconds": 0.2},
    ),
    "delay after": ({"fault": "delay", "call": "result", "at": "answer", "seconds": 0.2},),
    "a call longer than its deadline": (
        {"fault": "delay", "call": "result", "seconds": 1.5, "count": 1},
    ),
    "trickle": (
        {"fault": "trickle", "call": "get", "bytes_per_second": 8 * MIB},
        {"fault": "trickle", "call": "put", "bytes_per_second": 8 * MIB},
    ),
    "503 with Retry-After": (
        {"fault": "status", "call": "api", "status": 503, "retry_after": 0.1, "count": 2},
    ),
    "429 with a silly Retry-After": (
        {"fault": "status", "call": "api", "status": 429, "retry_after": "soon", "count": 2},
    ),
    "500 though applied": (
        {"fault": "status", "call": "upload_complete", "status": 500, "applied": True, "count": 1},
        {"fault": "status", "call": "result", "status": 500, "applied": True, "count": 1},
    ),
    "storage's 500": (
        {"fault": "status", "call": "storage", "status": 500, "each": "part", "count": 1},
    ),
    "code 500 under 200": ({"fault": "code", "code": 500, "count": 2},),
    "reset before": ({"fault": "reset", "call": "api", "count": 2},),
    "reset after": ({"fault": "reset", "call": "api", "applied": True, "every": 2, "count": 3},),
    "every answer lost once": tuple(
        {"fault": "reset", "call": call, "applied": True, "count": 1}
        for call in ("update_status", "upload_init", "upload_complete", "result")
    ),
    "reset in the middle of a part": (
        {"fault": "reset", "call": "put", "part": 1, "bytes": 2 * MIB, "count": 1},
    ),
    "reset in the middle of a download": (
        {"fault": "reset", "call": "get", "applied": True, "bytes": 3 * MIB, "count": 1},
    ),
    "hang": ({"fault": "hang", "call": ["result", "upload_init"], "each": "subtask", "count": 1},),
    "hang though applied": ({"fault": "hang", "call": "result", "applied": True, "count": 1},),
    "truncated answers": ({"fault": "truncate", "call": "api", "count": 2},),
    "answers cut short": ({"fault": "truncate", "call": "api", "length": "cut", "count": 2},),
    "truncated downloads": ({"fault": "truncate", "call": "get", "bytes": 4 * MIB, "count": 3},),
    "downloads cut short": ({"fault": "truncate", "call": "get", "length": "cut", "count": 2},),
    **{
        f"garbage: {kind}": (
            {"fault": "garbage", "call": ["api", "put"], "kind": kind, "count": 3},
        )
        for kind in ("html", "bytes", "gzip", "header", "status_line")
    },
    "expired URLs": ({"fault": "expire", "each": "object", "count": 1},),
    "slow down": ({"fault": "slow_down", "each": "object", "count": 1},),
    "ignored ranges": ({"fault": "ignore_range"},),
    "other ETags of an upload": ({"fault": "wrong_etag", "call": "get", "count": 1, "skip": 1},),
    "no ETags": ({"fault": "wrong_etag", "call": "put", "etag": "none", "count": 1},),
}


FAILED: Mapping[str, tuple[Rule, ...]] = {
    "Datahub refuses an upload": ({"fault": "code", "call": "upload_init", "code": 1},),
    "Datahub answers 400": ({"fault": "status", "call": "download_presign", "status": 400},),
    "storage refuses for good": (
        {"fault": "status", "call": "put", "status": 403, "error": "SignatureDoesNotMatch"},
    ),
    "the input is not there": ({"fault": "status", "call": "get", "status": 404},),
    "no URL is any good": ({"fault": "expire", "call": "put"},),
    "the ETags are others": ({"fault": "wrong_etag", "call": "put"},),
}


@dataclass
class Runs:
    hub: Served
    outcomes: Mapping[str, Future[TaskOutcome]]

    def injected(self, subtask: str) -> list[int]:
        counters = self.hub.chaos.as_json()["counters"]
        return [one["injected"] for one in counters if one["name"].startswith(f"{subtask}/")]

    def statuses(self, subtask: str) -> list[int]:
        """What was reported and taken."""
        return [
            event.detail["status"]
            for event in self.hub.store.events(subtask)
            if event.kind == "status" and event.accepted
        ]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def runs(hub: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "input.bin").write_bytes(CONTENT)
    rules = []
    for subtask, faults in {**COMPLETED, **FAILED}.items():
        hub.store.create_subtask(subtask, input=folder / "input.bin")
        for number, fault in enumerate(faults):
            rules.append({**fault, "subtask": subtask, "name": f"{subtask}/{number}"})
    hub.set(*rules)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield Runs(
            hub,
            {
                subtask: pool.submit(hub.run, Copy, subtask, folder / str(number), **SETTINGS)
                for number, subtask in enumerate({**COMPLETED, **FAILED})
            },
        )


@pytest.mark.parametrize("subtask", COMPLETED)
def test_it_completes(subtask: str, runs: Runs) -> None:
    outcome = runs.outcomes[subtask].result()
    assert (outcome.status, outcome.delivered) == (TaskStatus.COMPLETED, True), outcome.error
    assert set(runs.statuses(subtask)) == {1}
    stored = {output.name: output.path.read_bytes() for output in runs.hub.store.outputs(subtask)}
    assert stored == {"copy.bin": CONTENT, "small.txt": b"small"}
    injected = runs.injected(subtask)
    assert all(injected), "a fault was not met"
    assert len(runs.hub.faults_of(subtask)) == sum(injected)


@pytest.mark.parametrize("subtask", FAILED)
def test_it_fails_once(subtask: str, runs: Runs) -> None:
    outcome = runs.outcomes[subtask].result()
    assert (outcome.status, outcome.delivered) == (TaskStatus.FAILED, True)
    assert runs.statuses(subtask)[-1:] == [5]
    assert runs.statuses(subtask).count(5) == 1
    assert all(runs.injected(subtask))


def test_it_outlives_an_outage(tmp_path: Path) -> None:
    source = tmp_path / "input.bin"
    source.write_bytes(CONTENT)
    with served(tmp_path) as hub:
        hub.store.create_subtask("s", input=source)
        hub.set({"fault": "outage", "skip": 0})
        with LocalEngine(Copy, hub.settings(tmp_path / "state", **SETTINGS)) as engine:
            run = engine.run("s")
            thread = threading.Thread(target=run.execute)
            thread.start()
            assert eventually(lambda: hub.injected()[0] >= 2)
            hub.chaos.clear()
            thread.join()
        assert hub.store.subtask("s").status is TaskStatus.COMPLETED
        assert {fault["fault"] for fault in hub.faults_of("s")} == {"outage"}


def test_every_fault_is_tried() -> None:
    tried = {rule["fault"] for rules in (*COMPLETED.values(), *FAILED.values()) for rule in rules}
    elsewhere = {name for name, fault in FAULTS.items() if set(fault.applies) <= set(SERVICE)}
    assert tried | elsewhere | {"outage"} == set(FAULTS)
