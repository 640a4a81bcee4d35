"""The emulator drives our own service, with several plugins in it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_framework.emulator import Emulator
from tests.emulator.calling import MIB, eventually
from tests.emulator.local_api.calling import Local
from tests.service.calling import KEY, SECRET, ServiceProcess

PLUGINS = "tests.emulator.platform.plugins"
TEXT = b"small letters\n" * (6 * MIB // 14)
# Asked every 30 s, Datahub says nothing in time: what is obeyed came by manage_task.
SETTINGS = {"DATAHUB_POLL_SECONDS": "30", "DATAHUB_HEARTBEAT_SECONDS": "1"}


class Driven:
    """An emulator, and our service with the plugins shouts and whispers."""

    def __init__(self, emulator: Emulator, service: ServiceProcess) -> None:
        self.emulator = emulator
        self.store = emulator.store
        self.local = Local(emulator.url)
        self.service = service

    def create(self, plugin: str, name: str, **config: object) -> None:
        given = self.local.send("PUT", "inputs", TEXT, name="letters.txt").json["input"]
        body = {"plugin": plugin, "config": config, "subtask_id": name, "input": given}
        assert self.local.post("tasks", body).status == 201

    def press(self, name: str, button: str) -> None:
        assert self.local.post(f"tasks/{name}/{button}").status == 200

    def comes_to(self, name: str, status: int) -> bool:
        return eventually(lambda: self.store.subtask(name).status == status, 60)


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    folder = tmp_path_factory.mktemp("driven")
    names = [f"{PLUGINS}:{name}" for name in ("Shouts", "Whispers")]
    with (
        Emulator(state_dir=folder / "datahub", key=KEY, secret=SECRET) as emulator,
        ServiceProcess(folder / "service", emulator.url, *names, **SETTINGS) as service,
    ):
        driven = Driven(emulator, service)
        assert driven.local.post("services", {"url": service.url}).status == 200
        yield driven


def test_both_plugins_are_found(driven: Driven) -> None:
    found = {one["name"]: one for one in driven.local.json("plugins")}
    assert [one["version"] for one in found.values()] == ["3.2.1", "3.2.1"]
    assert all(one["healthy"] for one in found.values())
    for name, one in found.items():
        assert one["base"] == f"{driven.service.url}/{name}"
        assert driven.local.get(f"plugins/{name}/config.js", as_="body").status == 200


def plugin_names(driven: Driven) -> list[str]:
    return [one["name"] for one in driven.local.json("plugins")]


def test_tasks_of_both_run_to_their_end(driven: Driven) -> None:
    names = plugin_names(driven)
    for name in names:
        driven.create(name, f"done-{name}")
    for name in names:
        assert driven.comes_to(f"done-{name}", 3)
        assert driven.store.subtask(f"done-{name}").result == {
            "total_counts": len(TEXT),
            "success_counts": 0,
            "failed_counts": 0,
        }
        (output,) = driven.store.outputs(f"done-{name}")
        assert output.path.read_bytes() == TEXT.upper()


def test_it_is_paused_resumed_and_cancelled(driven: Driven, tmp_path: Path) -> None:
    plugin = plugin_names(driven)[1]
    driven.create(plugin, "held", until=str(tmp_path / "go"))
    for button, status in (("pause", 2), ("resume", 1), ("pause", 2), ("cancel", 4)):
        assert driven.comes_to("held", 1 if button == "pause" else 2)
        driven.press("held", button)
        assert driven.comes_to("held", status)
    events = driven.store.events("held")
    assert [one.detail["status"] for one in events if one.kind == "status"] == [1, 2, 1, 2, 4]
    assert all(one.accepted for one in events)


def test_a_config_that_is_wrong_is_the_reason_of_a_failure(driven: Driven) -> None:
    driven.create(plugin_names(driven)[0], "wrong", fail="perhaps")
    assert driven.comes_to("wrong", 5)
    task = driven.store.subtask("wrong")
    assert task.dispatch == "refused"
    assert task.reason is not None
    assert task.reason.startswith("config.fail:")


def test_it_fails(driven: Driven) -> None:
    driven.create(plugin_names(driven)[0], "failed", fail=True)
    assert driven.comes_to("failed", 5)


def test_a_task_outlives_both_being_killed(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path / "datahub", key=KEY, secret=SECRET) as emulator:
        port = int(emulator.url.rpartition(":")[2])
        state, plugin = tmp_path / "service", f"{PLUGINS}:Shouts"
        with ServiceProcess(state, emulator.url, plugin, **SETTINGS) as service:
            driven = Driven(emulator, service)
            driven.local.post("services", {"url": service.url})
            (name,) = plugin_names(driven)
            driven.create(name, "a", until=str(tmp_path / "go"))
            assert driven.comes_to("a", 1)
            service.kill()
            driven.create(name, "b", until=str(tmp_path / "go"))
            os.kill(emulator.pid, signal.SIGKILL)
            emulator.stop()
        (tmp_path / "go").touch()
        with (
            Emulator(
                state_dir=tmp_path / "datahub", key=KEY, secret=SECRET, port=port, lost_after=60
            ) as again,
            ServiceProcess(state, again.url, plugin, **SETTINGS) as service,
        ):
            moved = Driven(again, service)
            assert moved.local.post("services", {"url": service.url}).status == 200
            assert moved.comes_to("a", 3)
            assert moved.comes_to("b", 3)
