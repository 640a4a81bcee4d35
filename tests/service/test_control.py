"""Many subtasks: side by side, in turn, paused, resumed and cancelled, wherever they are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.service.calling import DEADLINE, ServiceProcess
from tests.service.hub import Hub


def waits(folder: Path, name: str = "go") -> dict[str, Any]:
    return {"until": str(folder / name)}


def order(folder: Path) -> list[str]:
    """The subtasks that have begun, in order."""
    file = folder / "order"
    return file.read_text().split() if file.exists() else []


def begun(folder: Path, count: int) -> list[str]:
    """Wait until so many have."""
    deadline = time.monotonic() + DEADLINE
    while len(order(folder)) < count:
        assert time.monotonic() < deadline, order(folder)
        time.sleep(0.01)  # between two looks at a file
    return order(folder)


def test_as_many_run_at_once_as_may(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(
        tmp_path, hub.url, "Waits", DATAHUB_MAX_CONCURRENCY="2", DATAHUB_MAX_QUEUE="1"
    ) as service:
        for name in ("many-1", "many-2"):
            assert service.call.create(name, waits(tmp_path)).fate == (200, 0)
        assert sorted(begun(tmp_path, 2)) == ["many-1", "many-2"]
        assert service.call.create("many-3", waits(tmp_path)).fate == (200, 0)
        busy = service.call.create("many-4", waits(tmp_path))
        assert busy.fate == (503, 1)
        assert "busy" in busy.body["msg"]
        assert service.call.create("many-3", waits(tmp_path)).fate == (200, 0)
        assert len(order(tmp_path)) == 2
        (tmp_path / "go").touch()
        for name in ("many-1", "many-2", "many-3"):
            hub.told(name, 1, 3)
        assert service.call.create("many-4", waits(tmp_path)).fate == (200, 0)
        hub.told("many-4", 1, 3)


def test_plugins_take_turns(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(
        tmp_path, hub.url, "Waits", "OtherWaits", DATAHUB_MAX_CONCURRENCY="1"
    ) as service:
        for name in ("turn-a1", "turn-a2", "turn-a3"):
            service.call.create(name, waits(tmp_path), plugin="Waits")
        begun(tmp_path, 1)
        for name in ("turn-b1", "turn-b2"):
            service.call.create(name, waits(tmp_path), plugin="OtherWaits")
        (tmp_path / "go").touch()
        expected = ["turn-a1", "turn-b1", "turn-a2", "turn-b2", "turn-a3"]
        assert begun(tmp_path, 5) == expected
        hub.told("turn-a3", 1, 3)


def test_what_runs_is_paused_resumed_and_cancelled(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Waits") as service:
        service.call.create("steered", waits(tmp_path))
        begun(tmp_path, 1)
        assert service.call.manage("steered", 2).fate == (200, 0)
        hub.told("steered", 1, 2)
        assert service.call.manage("steered", 2).fate == (200, 0)
        assert service.call.manage("steered", 1).fate == (200, 0)
        hub.told("steered", 1, 2, 1)
        assert service.call.manage("steered", 4).fate == (200, 0)
        hub.told("steered", 1, 2, 1, 4)
        assert service.call.manage("steered", 1).fate == (200, 1)


def test_a_hanging_plugin_is_cancelled_by_force(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Hangs", DATAHUB_GRACE_SECONDS="0.2") as service:
        service.call.create("hanging", {"note": str(tmp_path / "order")})
        begun(tmp_path, 1)
        assert service.call.manage("hanging", 4).fate == (200, 0)
        hub.told("hanging", 1, 4)


def test_what_waits_is_held_released_and_dropped(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Waits", DATAHUB_MAX_CONCURRENCY="1") as service:
        call = service.call
        call.create("first", waits(tmp_path))
        begun(tmp_path, 1)
        for name in ("held", "dropped", "last"):
            call.create(name, waits(tmp_path, "never" if name == "dropped" else "go"))
        assert call.manage("held", 2).fate == (200, 0)
        assert call.manage("dropped", 4).fate == (200, 0)
        hub.told("dropped", 4)
        assert call.manage("dropped", 1).fate == (200, 1)
        assert call.create("dropped", waits(tmp_path)).fate == (200, 0)  # it is known, and over
        (tmp_path / "go").touch()
        hub.told("last", 1, 3)
        assert "held" not in hub.statuses
        assert call.manage("held", 1).fate == (200, 0)
        hub.told("held", 1, 3)
        assert order(tmp_path) == ["first", "last", "held"]
        assert hub.statuses["dropped"] == [4]


def test_a_subtask_of_another_plugin_is_not_managed_by_mistake(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Waits", "OtherWaits") as service:
        service.call.create("mine", waits(tmp_path), plugin="Waits")
        assert service.call.manage("mine", 4, plugin="OtherWaits").fate == (200, 1)
        assert service.call.manage("mine", 4, plugin="Neither").fate == (404, 404)
        body = {"subtask_id": "mine", "status": 4}
        assert service.call.post("/Waits/api/plugin/manage_task", body).fate == (200, 0)
        hub.wait_for(lambda: hub.statuses["mine"][-1:] == [4])


def test_a_subtask_that_datahub_refuses_is_dropped(hub: Hub, tmp_path: Path) -> None:
    hub.refused.add("unwanted")
    with ServiceProcess(tmp_path, hub.url, "Counts", DATAHUB_MAX_CONCURRENCY="1") as service:
        service.call.create("unwanted", {})
        service.call.create("wanted", {})
        hub.told("wanted", 1, 3)
        service.wait_for_line("subtask unwanted: Datahub refused its start")
        assert service.call.manage("unwanted", 4).fate == (200, 1)
