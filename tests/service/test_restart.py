"""What was accepted survives whatever happens to the service."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.free_ports import free_port
from tests.service.calling import ServiceProcess
from tests.service.hub import Hub
from tests.service.test_control import begun, waits


def test_kill_9_amid_calls_loses_nothing_that_was_accepted(hub: Hub, tmp_path: Path) -> None:
    accepted: list[str] = []
    enough = threading.Event()

    def create(service: ServiceProcess, worker: int) -> None:
        for number in range(1000):
            name = f"kill-{worker}-{number}"
            try:
                answer = service.call.create(name, {})
            except OSError:
                return
            if answer.fate == (200, 0):
                accepted.append(name)
            if len(accepted) >= 40:
                enough.set()

    options = {"DATAHUB_MAX_QUEUE": "10000", "DATAHUB_MAX_CONCURRENCY": "2"}
    with (
        ServiceProcess(tmp_path, hub.url, "Anything", **options) as service,
        ThreadPoolExecutor(8) as callers,
    ):
        for worker in range(8):
            callers.submit(create, service, worker)
        assert enough.wait(60)
        service.kill()
    assert accepted
    with ServiceProcess(tmp_path, hub.url, "Anything", **options):
        hub.wait_for(lambda: all(hub.statuses[name][-1:] == [3] for name in accepted))
    assert all(hub.statuses[name].count(3) == 1 for name in accepted)


def test_a_half_done_subtask_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Waits", DATAHUB_MAX_CONCURRENCY="1") as service:
        service.call.create("half", waits(tmp_path))
        service.call.create("after-half", waits(tmp_path))
        begun(tmp_path, 1)
        service.kill()
    (tmp_path / "go").touch()
    with ServiceProcess(tmp_path, hub.url, "Waits", DATAHUB_MAX_CONCURRENCY="1"):
        hub.told("half", 1, 1, 3)
        hub.told("after-half", 1, 3)
    assert hub.results["half"]["attempt"] == 2
    assert begun(tmp_path, 3) == ["half", "half", "after-half"]


def test_a_pause_asked_for_while_it_starts_survives(hub: Hub, tmp_path: Path) -> None:
    """The report of its start is not a wish to go on."""
    with ServiceProcess(tmp_path, hub.url, "Waits") as service:
        with hub.held:
            service.call.create("pause early", waits(tmp_path))
            hub.wait_for_call("/api/task/update_status")
            assert service.call.manage("pause early", 2).fate == (200, 0)
        hub.told("pause early", 1, 2)
        service.call.manage("nobody", 2)  # what came before is on disk by then
        service.kill()
    with ServiceProcess(tmp_path, hub.url, "Waits") as service:
        hub.told("pause early", 1, 2, 1, 2)
        figures = service.call.send("GET", "/metrics", b"", {}).raw.decode()
        assert 'datahub_subtasks{state="paused"} 1.0' in figures
        assert 'datahub_subtasks{state="running"} 0.0' in figures


def test_on_interrupted_may_fail_it_instead(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Waits") as service:
        service.call.create("interrupted", waits(tmp_path))
        begun(tmp_path, 1)
        service.kill()
    with ServiceProcess(tmp_path, hub.url, "Waits", DATAHUB_ON_INTERRUPTED="fail"):
        hub.told("interrupted", 1, 1, 5)


def test_what_was_asked_of_a_subtask_survives_too(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Waits", DATAHUB_MAX_CONCURRENCY="1") as service:
        service.call.create("occupies", waits(tmp_path))
        begun(tmp_path, 1)
        service.call.create("on hold", waits(tmp_path))
        assert service.call.manage("on hold", 2).fate == (200, 0)
        assert service.call.manage("occupies", 2).fate == (200, 0)
        hub.told("occupies", 1, 2)
        service.kill()
    with ServiceProcess(tmp_path, hub.url, "Waits", DATAHUB_MAX_CONCURRENCY="1") as service:
        # It had begun: it is alive again, and paused again at a checkpoint.
        hub.wait_for(lambda: hub.statuses["occupies"][2:][-2:] == [1, 2])
        (tmp_path / "go").touch()
        assert service.call.manage("occupies", 1).fate == (200, 0)
        hub.wait_for(lambda: hub.statuses["occupies"][-2:] == [1, 3])
        assert "on hold" not in hub.statuses
        assert service.call.manage("on hold", 1).fate == (200, 0)
        hub.told("on hold", 1, 3)


@pytest.mark.parametrize(("policy", "status"), [("fail", 5), ("cancel", 4), ("pause", 2)])
def test_a_signal_drains(policy: str, status: int, hub: Hub, tmp_path: Path) -> None:
    running, waiting = f"drained-{policy}", f"kept-{policy}"
    options = {"DATAHUB_MAX_CONCURRENCY": "1", "DATAHUB_ON_SHUTDOWN": policy}
    with ServiceProcess(tmp_path, hub.url, "Waits", **options) as service:
        service.call.create(running, waits(tmp_path))
        begun(tmp_path, 1)
        service.call.create(waiting, waits(tmp_path))
        assert service.stop() == 0
        hub.told(running, 1, status)
        assert waiting not in hub.statuses
    (tmp_path / "go").touch()
    with ServiceProcess(tmp_path, hub.url, "Waits", **options):
        hub.told(waiting, 1, 3)
        again = (1, 3) if policy == "pause" else ()
        hub.told(running, 1, status, *again)


def test_while_draining_it_answers_and_takes_nothing_new(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Hangs", DATAHUB_GRACE_SECONDS="60") as service:
        service.call.create("stays", {"note": str(tmp_path / "order")})
        begun(tmp_path, 1)
        service.process.send_signal(signal.SIGTERM)
        service.wait_for_line("SIGTERM: no more subtasks are taken")
        assert service.call.health().body["status"] == "draining"
        assert service.call.send("GET", "/ready", b"", {}).status == 503
        assert service.call.send("GET", "/live", b"", {}).status == 200
        assert service.call.create("refused", {}).fate == (503, 1)
        assert service.call.create("stays", {}).fate == (200, 0)
        for status in (1, 2, 4):
            answer = service.call.manage("stays", status)
            assert answer.fate == (200, 1), answer.body
            assert "shutting down, and ends subtask stays" in answer.body["msg"]
        assert service.stop() == 0  # the second signal: no more grace
        hub.told("stays", 1, 5)
    assert "refused" not in hub.statuses


def test_when_datahub_is_down_nothing_is_lost_and_all_is_delivered_later(tmp_path: Path) -> None:
    with Hub() as hub:
        nowhere = f"http://127.0.0.1:{free_port()}"
        with ServiceProcess(tmp_path, nowhere, "Counts", DATAHUB_STARTUP_DEADLINE="0.1") as service:
            assert service.call.create("early", {}).fate == (200, 0)
            assert service.call.create("unlucky", {}).fate == (200, 0)
            service.wait_for_line("is not started")
            assert service.call.manage("unlucky", 4).fate == (200, 0)
            service.wait_for_line("what was kept of other subtasks")
            assert service.stop() == 0
        with ServiceProcess(tmp_path, hub.url, "Counts"):
            hub.told("early", 1, 3)
            hub.told("unlucky", 4)


def test_what_a_run_leaves_is_delivered_beside_the_next_ones(tmp_path: Path) -> None:
    patience = {"DATAHUB_DELIVERY_DEADLINE": "0.1"}
    with Hub() as hub, ServiceProcess(tmp_path, hub.url, "Waits", **patience) as service:
        service.call.create("left", waits(tmp_path))
        begun(tmp_path, 1)
        hub.down = True
        (tmp_path / "go").touch()
        service.wait_for_line("subtask left: completed")
        service.wait_for_line("what was kept of")
        hub.down = False
        hub.told("left", 1, 3)
        service.wait_for_line("what was kept of subtask left: delivered")
        service.call.create("next", waits(tmp_path))
        hub.told("next", 1, 3)
        assert hub.statuses["left"] == [1, 3]


def test_a_second_service_may_not_use_the_same_state(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Counts"):
        second = ServiceProcess(tmp_path, hub.url, "Counts")
        with pytest.raises(AssertionError, match="another service uses"):
            second.__enter__()
        assert second.process.returncode == 2
