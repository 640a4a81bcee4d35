"""What the service has accepted can be seen in its journal, whatever Datahub makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import call
from tests.service.calling import ServiceProcess
from tests.service.hub import Hub
from tests.service.test_control import begun, waits


def journal(state: Path, *arguments: str) -> str:
    ended = call("journal", *arguments, cwd=state, env={"DATAHUB_STATE_DIR": str(state)})
    assert ended.code == 0, ended
    return ended.out


def record(state: Path, subtask_id: str) -> dict[str, Any]:
    listed = json.loads(journal(state, "list", "--all", "--json"))
    (found,) = [one for one in listed if one["subtask_id"] == subtask_id]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("status", [403, 404])
def test_a_proxys_refusal_drops_nothing(status: int, tmp_path: Path) -> None:
    with Hub() as hub:
        hub.proxy = status
        with ServiceProcess(tmp_path, hub.url, "Counts", DATAHUB_STARTUP_DEADLINE="0.1") as service:
            assert service.call.create("kept", {}).fate == (200, 0)
            service.wait_for_line("subtask kept is not started")
            assert [line for line in service.lines if "dropped" in line["message"]] == []
            hub.proxy = None
            hub.told("kept", 1, 3)


def test_what_datahub_refuses_is_dropped_and_stays_known(tmp_path: Path) -> None:
    with Hub() as hub, ServiceProcess(tmp_path, hub.url, "Counts") as service:
        hub.refused.add("unwanted")
        assert service.call.create("unwanted", {}).fate == (200, 0)
        service.wait_for_line("subtask unwanted: Datahub refused its start, and it is dropped")
        service.call.create("next", {})
        hub.told("next", 1, 3)
        found = record(tmp_path, "unwanted")
        assert (found["state"], found["plugin"], found["attempts"]) == ("refused", "Counts", 0)
        assert "code 1" in found["why"]
        assert "refused" in journal(tmp_path, "list")
        shown = journal(tmp_path, "show", "unwanted")
        assert "Datahub refused its start, and it is dropped: POST " in shown
        hub.refused.clear()
        assert service.call.create("unwanted", {}).fate == (200, 0)
        hub.told("unwanted", 1, 3)
        service.wait_for_line("subtask unwanted: completed")
        service.call.create("last", {})
        hub.told("last", 1, 3)
        assert record(tmp_path, "unwanted")["state"] == "delivered"


def test_what_waits_is_seen(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Waits", DATAHUB_MAX_CONCURRENCY="1") as service:
        service.call.create("runs first", waits(tmp_path))
        begun(tmp_path, 1)
        service.call.create("seen", waits(tmp_path), task_id="t-9")
        found = record(tmp_path, "seen")
        facts = (found["state"], found["plugin"], found["task_id"], found["status"])
        assert facts == ("waiting", "Waits", "t-9", None)
        assert found["since"] == found["created"]
        assert record(tmp_path, "runs first")["state"] == "unfinished"
        assert "seen" not in journal(tmp_path, "list")
        shown = journal(tmp_path, "show", "seen")
        assert "accepted by the service, for plugin Waits" in shown
        removed = call(
            *("journal", "prune", "--force", "seen"),
            cwd=tmp_path,
            env={"DATAHUB_STATE_DIR": str(tmp_path)},
        )
        assert (removed.code, removed.out) == (75, "seen  kept: it waits in the service's queue\n")
        (tmp_path / "go").touch()
        hub.told("seen", 1, 3)


def test_another_config_for_a_known_subtask_is_said(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Waits", DATAHUB_MAX_CONCURRENCY="1") as service:
        service.call.create("busy", {**waits(tmp_path), "pause": 0.01})
        begun(tmp_path, 1)
        for name in ("busy", "changed"):
            for pause in (0.01, 0.01, 0.02):
                config = {**waits(tmp_path), "pause": pause}
                assert service.call.create(name, config).fate == (200, 0)
            service.wait_for_line(f"subtask {name} was sent again with another config")
        (tmp_path / "go").touch()
        hub.told("changed", 1, 3)
        said = [line for line in service.lines if "another config" in line["message"]]
        assert len(said) == 2


def test_what_datahub_has_created_anew_runs_again(tmp_path: Path) -> None:
    one_by_one = {"DATAHUB_MAX_CONCURRENCY": "1"}
    with Hub() as hub, ServiceProcess(tmp_path, hub.url, "Counts", **one_by_one) as service:

        def create(size: int) -> None:
            """Create it, and run another, so that this one is over."""
            assert service.call.create("anew", {"size": size}).fate == (200, 0)
            service.call.create(f"after {size}", {})
            hub.told(f"after {size}", 1, 3)

        create(1)
        create(2)
        service.wait_for_line("subtask anew has ended already (completed)")
        assert hub.statuses["anew"] == [1, 3]
        del hub.statuses["anew"]
        create(3)
        assert hub.statuses["anew"] == [1, 3]
        assert hub.results["anew"]["total_counts"] == 3
        figures = service.call.send("GET", "/metrics", b"", {}).raw.decode()
        assert 'datahub_subtasks_ended_total{status="completed"} ' in figures
