"""manage_task: told until it is taken, confirmed, over, or asked otherwise."""

from __future__ import annotations

import threading

import pytest

from plugin_framework.emulator import Store
from plugin_framework.emulator.platform import Platform
from plugin_framework.protocol.models import TaskStatus
from tests.emulator.calling import eventually
from tests.emulator.platform.reporting import finish, report
from tests.emulator.platform.services import OK, Reply, ScriptedService, said

PAUSED, RUNNING, CANCELLED = TaskStatus.PAUSED, TaskStatus.RUNNING, TaskStatus.CANCELLED


@pytest.fixture
def running(platform: Platform, store: Store, registered: ScriptedService) -> str:
    """A subtask that the service has, in status 1."""
    platform.create_task("scripted", {}, subtask_id="a")
    assert eventually(lambda: store.subtask("a").dispatch == "accepted")
    report(store, "a", RUNNING)
    return "a"


def told(service: ScriptedService) -> list[int]:
    return [status for call, _, status in service.calls if call == "manage_task"]


def quiet(store: Store) -> bool:
    """Whether nothing is left to tell."""
    with store.database.reading() as sql:
        return sql.execute("SELECT 1 FROM subtasks WHERE tell IS NOT NULL").fetchone() is None


def test_what_is_asked_is_told_once(
    platform: Platform, store: Store, registered: ScriptedService, running: str
) -> None:
    for asked in (PAUSED, RUNNING, CANCELLED):
        assert platform.manage(running, asked).requested is asked
        assert eventually(lambda: told(registered)[-1:] == [store.subtask(running).requested])
        assert eventually(lambda: quiet(store))
        assert store.subtask(running).requested is asked
        report(store, running, asked)
        assert store.subtask(running).requested is None
    assert told(registered) == [2, 1, 4]
    states = [(one.kind, one.detail) for one in store.events(running) if one.kind == "operator"]
    assert [detail for _, detail in states] == [{"status": 2}, {"status": 1}, {"status": 4}]


@pytest.mark.parametrize("trouble", [said(500, "no"), Reply(body=b"x"), Reply(body=None)])
def test_what_is_not_delivered_is_told_again(
    platform: Platform, store: Store, registered: ScriptedService, running: str, trouble: Reply
) -> None:
    registered.answer = lambda _: OK if len(told(registered)) > 2 else trouble
    platform.manage(running, PAUSED)
    assert eventually(lambda: quiet(store))
    assert told(registered) == [2, 2, 2]
    trail = [one.detail for one in store.events(running) if "status" in one.detail]
    assert trail[-2:] == [{"state": "waiting", "status": 2}, {"state": "accepted", "status": 2}]


@pytest.mark.parametrize("end", ["confirmed", "ended", "failed"])
def test_it_is_not_told_again_when_it_is_done_or_over(
    platform: Platform, store: Store, registered: ScriptedService, running: str, end: str
) -> None:
    registered.answer = lambda _: said(500, "no")
    platform.manage(running, PAUSED)
    registered.wait_for(lambda: told(registered))
    if end == "ended":
        finish(store, running)
    else:
        report(store, running, PAUSED if end == "confirmed" else TaskStatus.FAILED)
    assert quiet(store)


@pytest.mark.parametrize("held", [True, False])
def test_a_start_confirms_no_resume(
    platform: Platform, store: Store, registered: ScriptedService, running: str, *, held: bool
) -> None:
    """A service that was told to pause, and starts again, says 1 before it holds the subtask."""
    if held:
        report(store, running, PAUSED)
    registered.answer = lambda _: said(500, "no")
    platform.manage(running, RUNNING)
    registered.wait_for(lambda: told(registered))
    report(store, running, RUNNING)
    report(store, running, PAUSED)
    assert not quiet(store)
    registered.answer = lambda _: OK
    assert eventually(lambda: quiet(store))
    assert set(told(registered)) == {1}


def test_only_the_last_thing_asked_is_told(
    platform: Platform, store: Store, registered: ScriptedService, running: str
) -> None:
    registered.answer = lambda sent: OK if sent.content["status"] == 4 else said(500, "no")
    platform.manage(running, PAUSED)
    registered.wait_for(lambda: told(registered))
    platform.manage(running, CANCELLED)
    assert eventually(lambda: quiet(store))
    assert told(registered)[-1] == 4
    assert 1 not in told(registered)


def test_a_refusal_is_on_record_and_final(
    platform: Platform, store: Store, registered: ScriptedService, running: str
) -> None:
    registered.answer = lambda _: said(1, "it cannot be paused")
    platform.manage(running, PAUSED)
    assert eventually(lambda: quiet(store))
    refusal = store.events(running)[-1]
    assert (refusal.kind, refusal.code, refusal.message) == ("dispatch", 1, "it cannot be paused")
    assert store.subtask(running).status is RUNNING
    assert told(registered) == [2]


def test_a_subtask_that_hangs_holds_up_no_other(
    platform: Platform, store: Store, registered: ScriptedService, running: str
) -> None:
    platform.create_task("scripted", {}, subtask_id="b")
    assert eventually(lambda: store.subtask("b").dispatch == "accepted")
    free = threading.Event()
    registered.answer = lambda sent: (
        Reply(hold=free) if sent.short == ("manage_task", running, 2) else OK
    )
    platform.manage(running, PAUSED)
    registered.wait_for(lambda: told(registered) == [2])
    platform.manage("b", CANCELLED)
    platform.create_task("scripted", {}, subtask_id="c")
    assert eventually(lambda: store.subtask("c").dispatch == "accepted")
    registered.wait_for(lambda: ("manage_task", "b", 4) in registered.calls)
    free.set()
    assert eventually(lambda: quiet(store))


def test_a_pause_before_it_is_accepted_follows_create_task(
    platform: Platform, store: Store, registered: ScriptedService
) -> None:
    free = threading.Event()
    registered.answer = lambda sent: Reply(hold=free) if sent.call == "create_task" else OK
    platform.create_task("scripted", {}, subtask_id="a")
    platform.manage("a", PAUSED)
    registered.wait_for(lambda: registered.calls)
    assert store.notified_status("a") is PAUSED
    free.set()
    registered.wait_for(lambda: told(registered) == [2])


def test_another_process_may_ask_too(
    store: Store, registered: ScriptedService, running: str
) -> None:
    store.set_status(running, PAUSED)
    registered.wait_for(lambda: told(registered) == [2])


def test_without_a_service_nobody_is_told(
    platform: Platform, store: Store, registered: ScriptedService
) -> None:
    store.create_subtask("alone")
    report(store, "alone", RUNNING)
    platform.manage("alone", PAUSED)
    assert quiet(store)
    assert store.notified_status("alone") is PAUSED
