"""The emulator with 5,000 running subtasks: what it loses, how long it takes, what it costs.

``SUBTASKS`` (5,000) send a heartbeat every ``BEAT`` (30) s for ``SECONDS`` (95), supervisors ask
for their statuses, and ``FINISHED`` (1,000) subtasks an hour are run to their end beside them, with
an input, an output and a result; somebody has the page open. Whatever was acknowledged must be in
the state afterwards.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from benchmarks.calls import Answer, Call, Calls, Script
from plugin_framework.emulator import Emulator, Event, Store
from plugin_framework.emulator.subtasks import HEARTBEATS_KEPT_OF_ENDED
from plugin_framework.protocol.models import TaskStatus

KEY, SECRET = "measure", "measure-secret"
SUBTASKS = int(os.environ.get("SUBTASKS", "5000"))
SECONDS = float(os.environ.get("SECONDS", "95"))
FINISHED = float(os.environ.get("FINISHED", "1000"))
BEAT = float(os.environ.get("BEAT", "30"))
ASKED = 25.0
"""Questions a second: five supervisors ask five times each (``lifecycle.polling``)."""
OUTPUT = 256 * 1024
INPUT = 1024 * 1024


@dataclass(slots=True)
class Acknowledged:
    """What the emulator has answered code 0 to, by subtask, in order."""

    beats: dict[str, list[list[int]]] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


class Plugins:
    """All subtasks' plugins, in one process; times of ``plan`` in seconds."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._plan = plan
        self._calls = Calls(plan["url"], KEY, SECRET)
        self.done = Acknowledged()
        self._counts = dict.fromkeys(plan["running"], 0)

    def run(self) -> dict[str, Any]:
        """Start all, let them live, end those that are to end; what came of it."""
        calls = self._calls
        with closing(calls):
            a_second = self._start_all()
            print("started", flush=True)
            self._live_on()
        return {
            "started_a_second": a_second,
            "seconds": calls.seconds,
            "acknowledged": asdict(self.done),
        }

    def _start_all(self) -> float:
        """As fast as they are answered; how many that were in a second."""
        began = time.monotonic()
        for name in self._plan["running"]:
            self._calls.at(began, partial(self._start, name))
        self._calls.run()
        return len(self._calls.seconds.pop("update_status")) / (time.monotonic() - began)

    def _live_on(self) -> None:
        plan, calls, began = self._plan, self._calls, time.monotonic()
        every = plan["beat"] / len(plan["running"])
        for number, name in enumerate(plan["running"]):
            calls.at(began + number * every, partial(self._beat, name))
        for number, name in enumerate(plan["finishing"]):
            calls.at(began + number * plan["finish_every"], partial(self._live, name))
        calls.at(began, self._ask)
        calls.run(began + plan["seconds"])

    def _start(self, name: str, _due: float) -> Script:
        yield from self._status(name, TaskStatus.RUNNING)

    def _status(self, name: str, status: TaskStatus) -> Script:
        answer = yield _post("update_status", subtask_id=name, status=int(status))
        if self._taken(answer, name):
            self.done.statuses.setdefault(name, []).append(int(status))

    def _beat(self, name: str, due: float) -> Script:
        self._calls.at(due + self._plan["beat"], partial(self._beat, name))
        yield from self._send_beat(name)

    def _send_beat(self, name: str) -> Script:
        number = self._counts[name] = self._counts.get(name, 0) + 1
        beat = [int(time.time()), number % 101]
        answer = yield _post("heartbeat", subtask_id=name, timestamp=beat[0], process=beat[1])
        if self._taken(answer, name):
            self.done.beats.setdefault(name, []).append(beat)

    def _ask(self, due: float) -> Script:
        self._calls.at(due + 1 / self._plan["asked"], self._ask)
        name = random.choice(self._plan["running"])
        answer = yield Call("notify", "GET", f"/api/task/notify?task_id={name}")
        self._taken(answer, name)

    def _live(self, name: str, _due: float) -> Script:
        """A whole subtask: input, output, result."""
        yield from self._status(name, TaskStatus.RUNNING)
        answer = yield Call("presign", "GET", f"/api/task/download/presign?subtask_id={name}")
        url = json.loads(answer.body)["data"]["download_url"]
        answer = yield Call("get", "GET", _target(url), signed=False)
        assert len(answer.body) == INPUT
        yield from self._send_beat(name)
        body = name.encode().ljust(OUTPUT)
        answer = yield _post("upload_init", subtask_id=name, file_name="out", file_size=OUTPUT)
        data = json.loads(answer.body)["data"]
        url = data["part_upload_urls"][0]["url"]
        answer = yield Call("put", "PUT", _target(url), body, signed=False)
        part = {"index": 1, "etag": answer.etag}
        answer = yield _post(
            "upload_complete", subtask_id=name, upload_id=data["upload_id"], parts=[part]
        )
        if self._taken(answer, name):
            self.done.outputs[name] = name
        result = {"total_counts": random.randrange(1000)}
        answer = yield _post("result", subtask_id=name, result=result)
        if self._taken(answer, name):
            self.done.results[name] = result

    def _taken(self, answer: Answer, name: str) -> bool:
        if not answer.taken:
            self.done.refused.append(f"{name}: {answer.status} {answer.body[:200]!r}")
        return answer.taken


def _post(kind: str, **body: Any) -> Call:
    path = kind.replace("upload_", "upload/")
    return Call(kind, "POST", f"/api/task/{path}", json.dumps(body).encode())


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def main() -> None:
    """Print what was lost, how long calls took, and what the emulator used."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with Emulator(state_dir=place / "datahub", key=KEY, secret=SECRET) as emulator:
            for line in Measured(emulator, place).lines():
                print(line, flush=True)


class Measured:
    """One run of so many subtasks for so long."""

    def __init__(
        self,
        emulator: Emulator,
        place: Path,
        *,
        subtasks: int = SUBTASKS,
        seconds: float = SECONDS,
        beat: float = BEAT,
        finished: float = FINISHED,
        asked: float = ASKED,
    ) -> None:
        self._emulator = emulator
        self._place = place
        self._plan: dict[str, Any] = {
            "url": emulator.url,
            "running": [f"running-{number}" for number in range(subtasks)],
            "finishing": [f"ended-{number}" for number in range(int(seconds * finished / 3600))],
            "finish_every": 3600 / finished,
            "beat": beat,
            "seconds": seconds,
            "asked": asked,
        }
        self.acknowledged = Acknowledged()
        self.lost: list[str] = []

    def lines(self) -> Iterator[str]:
        """Measure, and say what came of it."""
        self._create()
        memory = resident(self._emulator.pid)
        with self._plugins() as plugins, Onlooker(self._emulator.url) as onlooker:
            assert plugins.stdout is not None
            plugins.stdout.readline()
            used, at = processor_seconds(self._emulator.pid), time.monotonic()
            told = json.loads(plugins.stdout.readline())
            used = processor_seconds(self._emulator.pid) - used
            took = time.monotonic() - at
        self.acknowledged = Acknowledged(**told["acknowledged"])
        self.lost = list(losses(self.acknowledged, self._emulator.store))
        yield f"{len(self._plan['running'])} started, {told['started_a_second']:.0f} a second"
        for kind, seconds in sorted(told["seconds"].items()):
            yield f"{kind:<16} {spread(seconds)}"
        yield from onlooker.lines()
        beats = sum(map(len, self.acknowledged.beats.values()))
        results = len(self.acknowledged.results)
        yield f"acknowledged: {beats} heartbeats, {results} results; lost: {len(self.lost)}"
        yield f"refused: {len(self.acknowledged.refused)}"
        now = resident(self._emulator.pid)
        yield f"emulator: {100 * used / took:.0f}% of a core, {now} MiB (idle {memory} MiB)"
        yield from self.lost[:5] + self.acknowledged.refused[:5]

    def _create(self) -> None:
        source = self._place / "input"
        source.write_bytes(bytes(INPUT))
        for name in self._plan["running"]:
            self._emulator.store.create_subtask(name)
        for name in self._plan["finishing"]:
            self._emulator.store.create_subtask(name, input=source)

    def _plugins(self) -> subprocess.Popen[str]:
        plan = self._place / "plan.json"
        plan.write_text(json.dumps(self._plan))
        command = [sys.executable, "-m", "benchmarks.emulator", str(plan)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


class Onlooker:
    """Somebody who has the page open: reads its list every second, and its stream."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._over = threading.Event()
        self._lists: list[float] = []
        self._frames: list[float] = []
        self._bytes = 0
        self._streaming = socket.socket()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._read, self._follow)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with suppress(OSError):  # it never came to that
            self._streaming.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._streaming.close()

    def lines(self) -> Iterator[str]:
        """What it saw."""
        yield f"{'list of tasks':<16} {spread(self._lists)}"
        gaps = [after - before for before, after in pairwise(self._frames)]
        yield f"{'stream':<16} {spread(gaps)} between updates, {self._bytes // 1024} KiB"

    def _read(self) -> None:
        while not self._over.wait(1):
            began = time.monotonic()
            with self._get("/local/tasks?limit=100") as answer:
                answer.read()
            self._lists.append(time.monotonic() - began)

    def _follow(self) -> None:
        with self._get("/local/stream") as stream:
            self._streaming.close()
            self._streaming = socket.socket(fileno=os.dup(stream.fileno()))
            while not self._over.is_set() and (line := stream.readline()):
                self._bytes += len(line)
                if line.startswith(b"event: tasks"):
                    self._frames.append(time.monotonic())

    @contextmanager
    def _get(self, target: str) -> Iterator[http.client.HTTPResponse]:
        with closing(http.client.HTTPConnection(self._address, timeout=60)) as connection:
            connection.request("GET", target)
            with connection.getresponse() as answer:
                assert answer.status == HTTPStatus.OK, f"{target}: {answer.status}"
                yield answer


def losses(done: Acknowledged, store: Store) -> Iterator[str]:
    """What was acknowledged and is not in the state."""
    for name, beats in done.beats.items():
        kept = [
            (event.detail["timestamp"], event.detail["process"])
            for event in _taken_events(store, name, "heartbeat")
        ]
        # Older ones are thinned out.
        recent = beats[-HEARTBEATS_KEPT_OF_ENDED:]
        if Counter(map(tuple, recent)) - Counter(kept):
            yield f"{name}: {recent} acknowledged, {kept} kept"
        subtask = store.subtask(name)
        if not subtask.status.is_final and subtask.progress != kept[-1][1]:
            yield f"{name}: progress {subtask.progress}, last told {kept[-1]}"
    for name, statuses in done.statuses.items():
        kept_statuses = [event.detail["status"] for event in _taken_events(store, name, "status")]
        if kept_statuses[: len(statuses)] != statuses:
            yield f"{name}: statuses {statuses} acknowledged, {kept_statuses} kept"
    for name, result in done.results.items():
        subtask = store.subtask(name)
        if subtask.status is not TaskStatus.COMPLETED or subtask.result != result:
            yield f"{name}: result {result} acknowledged, {subtask.result} kept"
    for name in done.outputs:
        if [o.path.read_bytes().rstrip() for o in store.outputs(name)] != [name.encode()]:
            yield f"{name}: the output is not what was stored"


def _taken_events(store: Store, name: str, kind: str) -> list[Event]:
    return [event for event in store.events(name) if event.kind == kind and event.accepted]


def spread(seconds: Sequence[float]) -> str:
    """How they are spread, in milliseconds."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    p50, p99 = (1000 * ordered[len(ordered) * share // 100] for share in (50, 99))
    return f"{len(ordered)}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {1000 * ordered[-1]:.0f} ms"


def resident(pid: int) -> int:
    """A process's resident memory in MiB."""
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize() // 2**20


def processor_seconds(pid: int) -> float:
    """What a process has used of the processors."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(Plugins(json.loads(Path(sys.argv[1]).read_text())).run()))
    else:
        main()
