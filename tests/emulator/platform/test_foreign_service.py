"""The emulator drives a service that shares nothing with us but PROTOCOL.md."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plugin_framework.emulator import Emulator
from plugin_framework.protocol.models import TaskStatus
from tests.emulator.calling import MIB, eventually
from tests.emulator.local_api.calling import Local
from tests.free_ports import free_port

PROGRAM = Path(__file__).with_name("flask_service.py")
KEY, SECRET = "foreign-key", "foreign secret"
NAMES = ("a", "b", "c")
TEXT = b"small letters \xc3\xbc\n" * (7 * MIB // 17)


@contextmanager
def flask(datahub: str, port: int, **env: str) -> Iterator[subprocess.Popen[str]]:
    """The service as a process, killed at the end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DATAHUB_")}
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), datahub, str(port)],
        env={**kept, "PLUGIN_KEY": KEY, "PLUGIN_SECRET": SECRET, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Driven:
    """An emulator, and the foreign service that is registered with it."""

    def __init__(self, emulator: Emulator, service: str) -> None:
        self.emulator = emulator
        self.store = emulator.store
        self.local = Local(emulator.url)
        self.service = service

    def create(self, name: str, **config: object) -> None:
        given = self.local.send("PUT", "inputs", TEXT, name="letters.txt").json["input"]
        body = {"plugin": "shout", "config": config, "subtask_id": name, "input": given}
        assert self.local.post("tasks", body).status == 201

    def press(self, name: str, button: str) -> None:
        assert self.local.post(f"tasks/{name}/{button}").status == 200

    def comes_to(self, name: str, status: int) -> bool:
        return eventually(lambda: self.store.subtask(name).status == status, 60)

    def statuses(self, name: str) -> list[int]:
        events = self.store.events(name)
        return [one.detail["status"] for one in events if one.kind == "status"]


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    port = free_port()
    state = tmp_path_factory.mktemp("datahub")
    url = f"http://127.0.0.1:{port}"
    with (
        Emulator(state_dir=state, key=KEY, secret=SECRET, services=[url]) as emulator,
        flask(emulator.url, port),
    ):
        local = Local(emulator.url)
        assert eventually(lambda: [one["healthy"] for one in local.json("plugins")] == [True], 60)
        yield Driven(emulator, url)


def test_it_shares_nothing_with_us() -> None:
    imported = re.findall(r"^(?:from|import) (\w+)", PROGRAM.read_text(), re.MULTILINE)
    foreign = {name for name in imported if name not in sys.stdlib_module_names}
    assert foreign == {"flask"}


def test_it_is_registered_by_its_health_check(driven: Driven) -> None:
    (plugin,) = driven.local.json("plugins")
    assert (plugin["name"], plugin["version"]) == ("shout", "0.9")
    assert plugin["base"] == plugin["service"] == driven.service
    script = driven.local.get("plugins/shout/config.js", as_="body")
    assert (script.status, b"validateConfig" in script.body) == (200, True)


def test_a_task_runs_to_its_end(driven: Driven, tmp_path: Path) -> None:
    driven.create("done", until=str(tmp_path / "go"))
    assert driven.comes_to("done", 1)
    assert eventually(lambda: driven.store.subtask("done").progress == 75)
    (tmp_path / "go").touch()
    assert driven.comes_to("done", 3)
    task = driven.store.subtask("done")
    assert task.result == dict.fromkeys(("total_counts", "success_counts"), len(TEXT)) | {
        "failed_counts": 0
    }
    assert (task.dispatch, task.progress) == ("accepted", 100)
    (output,) = driven.store.outputs("done")
    assert output.name == "shouted.txt"
    assert output.path.read_bytes() == TEXT.upper()
    events = driven.store.events("done")
    assert {"status", "download", "heartbeat", "upload_init", "upload", "result"} <= {
        event.kind for event in events
    }
    assert all(event.accepted for event in events)


def test_it_is_paused_and_resumed(driven: Driven, tmp_path: Path) -> None:
    driven.create("held", until=str(tmp_path / "go"))
    assert driven.comes_to("held", 1)
    driven.press("held", "pause")
    assert driven.comes_to("held", 2)
    beats = driven.store.subtask("held").heartbeat_at
    assert eventually(lambda: driven.store.subtask("held").heartbeat_at != beats)
    driven.press("held", "resume")
    assert driven.comes_to("held", 1)
    (tmp_path / "go").touch()
    assert driven.comes_to("held", 3)
    assert driven.statuses("held") == [1, 2, 1]


@pytest.mark.parametrize("paused", [False, True])
def test_it_is_cancelled(driven: Driven, tmp_path: Path, *, paused: bool) -> None:
    name = f"cancelled-{paused}"
    driven.create(name, until=str(tmp_path / "go"))
    assert driven.comes_to(name, 1)
    if paused:
        driven.press(name, "pause")
        assert driven.comes_to(name, 2)
    driven.press(name, "cancel")
    assert driven.comes_to(name, 4)
    assert driven.store.outputs(name) == []


def test_it_fails(driven: Driven) -> None:
    driven.create("failed", fail=True)
    assert driven.comes_to("failed", 5)
    assert driven.store.subtask("failed").requested is None


def test_another_secret_is_refused_by_the_service(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        Emulator(state_dir=tmp_path, key=KEY, secret="another") as emulator,
        flask(emulator.url, port),
    ):
        local = Local(emulator.url)
        assert eventually(
            lambda: "wrong signature" in local.post("services", {"url": url}).json["error"], 60
        )
        assert local.json("plugins") == []


def test_another_secret_is_refused_by_the_emulator(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        Emulator(state_dir=tmp_path, key=KEY, secret=SECRET) as emulator,
        flask(emulator.url, port, PLUGIN_SIGNS_WITH="another") as process,
    ):
        driven = Driven(emulator, url)
        assert eventually(lambda: driven.local.post("services", {"url": url}).status == 200, 60)
        driven.create("a")
        assert process.stderr is not None
        assert any("HTTP Error 401" in line for line in process.stderr)
        assert eventually(lambda: emulator.store.subtask("a").dispatch == "accepted")
        assert emulator.store.subtask("a").status is TaskStatus.INITIAL
        assert [event.kind for event in emulator.store.events("a")] == ["dispatch"]


def test_a_killed_emulator_sends_what_waited(tmp_path: Path) -> None:
    port, service = free_port(), free_port()
    url = f"http://127.0.0.1:{service}"
    with Emulator(state_dir=tmp_path / "datahub", key=KEY, secret=SECRET, port=port) as emulator:
        driven = Driven(emulator, url)
        with flask(emulator.url, service):
            assert eventually(lambda: driven.local.post("services", {"url": url}).status == 200, 60)
        for name in NAMES:
            driven.create(name, until=str(tmp_path / "go"))
        os.kill(emulator.pid, signal.SIGKILL)
        emulator.stop()
    with flask(emulator.url, service):
        _goes_on(tmp_path, port)


def test_a_killed_emulator_goes_on_with_what_runs(tmp_path: Path) -> None:
    port, service = free_port(), free_port()
    url = f"http://127.0.0.1:{service}"
    with (
        Emulator(state_dir=tmp_path / "datahub", key=KEY, secret=SECRET, port=port) as emulator,
        flask(emulator.url, service),
    ):
        driven = Driven(emulator, url)
        assert eventually(lambda: driven.local.post("services", {"url": url}).status == 200, 60)
        for name in NAMES:
            driven.create(name, until=str(tmp_path / "go"))
            assert driven.comes_to(name, 1)
        os.kill(emulator.pid, signal.SIGKILL)
        emulator.stop()
        _goes_on(tmp_path, port)


def _goes_on(tmp_path: Path, port: int) -> None:
    with Emulator(
        state_dir=tmp_path / "datahub", key=KEY, secret=SECRET, port=port, lost_after=60
    ) as emulator:
        store = emulator.store
        accepted = ["accepted"] * len(NAMES)
        assert eventually(lambda: [store.subtask(name).dispatch for name in NAMES] == accepted, 60)
        (tmp_path / "go").touch()
        ends = [TaskStatus.COMPLETED] * len(NAMES)
        assert eventually(lambda: [store.subtask(name).status for name in NAMES] == ends, 60)
        assert [len(store.outputs(name)) for name in NAMES] == [1] * len(NAMES)
