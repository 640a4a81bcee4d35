"""create_task: sent until it is answered, in order, whatever the service does."""

from __future__ import annotations

import json
import threading

import pytest

from plugin_framework.emulator import Refused, Store
from plugin_framework.emulator.platform import Platform
from plugin_framework.emulator.store import Assignment
from plugin_framework.protocol.models import TaskStatus
from tests.emulator.calling import eventually
from tests.emulator.platform.reporting import report
from tests.emulator.platform.services import OK, Reply, ScriptedService, Sent, said


def settled(store: Store, subtask_id: str, dispatch: str) -> bool:
    return eventually(lambda: store.subtask(subtask_id).dispatch == dispatch)


def test_a_task_is_sent_and_accepted(
    platform: Platform, store: Store, registered: ScriptedService
) -> None:
    made = platform.create_task("scripted", {"size": 1}, subtask_id="a", task_id="whole")
    assert (made.dispatch, made.plugin, made.service) == ("waiting", "scripted", registered.url)
    assert settled(store, "a", "accepted")
    (sent,) = [one for one in registered.sent if one.call == "create_task"]
    assert sent.content == {"subtask_id": "a", "task_id": "whole", "config": {"size": 1}}
    assert store.subtask("a").status is TaskStatus.INITIAL
    (event,) = store.events("a")
    assert (event.kind, event.detail, event.accepted) == ("dispatch", {"state": "accepted"}, True)


@pytest.mark.parametrize(
    ("first", "problem"),
    [
        (said(1, "busy", status=503, retry_after="0"), "busy"),
        (said(1, "Busy: come again"), "Busy: come again"),
        (said(500, "internal error"), "internal error"),
        (said(0, "", status=502), "HTTP 502"),
        (said(400, "slow down", status=429), "slow down"),
        (Reply(body=b"<html>welcome</html>"), "an answer that is no envelope (HTTP 200)"),
        (Reply(body=b'{"code": "0"}'), "an answer that is no envelope (HTTP 200)"),
        (Reply(body=b"\xff" * 2_000_000), "the service: an answer of more than 1048576 bytes"),
        (
            Reply(302, b"", {"Location": "/api/plugin/elsewhere_task"}),
            "a redirect (HTTP 302), which is not followed",
        ),
        (
            Reply(body=None),
            "the service: no HTTP answer (Server disconnected without sending a response.)",
        ),
    ],
)
def test_what_may_pass_is_tried_again(
    platform: Platform, store: Store, registered: ScriptedService, first: Reply, problem: str
) -> None:
    registered.answer = lambda _: first if len(registered.created) == 1 else OK
    platform.create_task("scripted", {}, subtask_id="a")
    assert settled(store, "a", "accepted")
    assert registered.calls == [("create_task", "a", None)] * 2
    assert store.subtask("a").reason is None
    assert [(one.detail["state"], one.message) for one in store.events("a")] == [
        ("waiting", problem),
        ("accepted", ""),
    ]


@pytest.mark.parametrize(
    ("reply", "code", "reason"),
    [
        (said(400, "config.size: too small", status=400), 400, "config.size: too small"),
        (said(1, "no such model"), 1, "no such model"),
        (said(400, "config: wrong"), 400, "config: wrong"),
        (Reply(404, b"<html>not here</html>"), 404, "HTTP 404"),
        (said(1, "it\n exists already \x1b[31m"), 1, "it exists already [31m"),
        (said(1, "no" * 1000), 1, "no" * 250 + "..."),
    ],
)
def test_a_final_answer_fails_the_task(
    platform: Platform,
    store: Store,
    registered: ScriptedService,
    reply: Reply,
    code: int,
    reason: str,
) -> None:
    registered.answer = lambda _: reply
    platform.create_task("scripted", {}, subtask_id="a")
    assert settled(store, "a", "refused")
    subtask = store.subtask("a")
    assert (subtask.status, subtask.reason) == (TaskStatus.FAILED, reason)
    assert subtask.ended_at is not None
    (event,) = store.events("a")
    assert (event.kind, event.code, event.message) == ("dispatch", code, reason)
    assert len(registered.calls) == 1


@pytest.mark.parametrize(
    "second", [said(1, "task already exists"), said(409, "", status=409), said(400, "known here")]
)
def test_a_repeat_that_is_known_counts_as_accepted(
    platform: Platform, store: Store, registered: ScriptedService, second: Reply
) -> None:
    registered.answer = lambda _: Reply(body=None) if len(registered.created) == 1 else second
    platform.create_task("scripted", {}, subtask_id="a")
    assert settled(store, "a", "accepted")


def test_order_is_kept_while_the_first_is_not_taken(
    platform: Platform, store: Store, registered: ScriptedService
) -> None:
    registered.answer = lambda _: said(1, "busy", status=503)
    for name in "abc":
        platform.create_task("scripted", {}, subtask_id=name)
    registered.wait_for(lambda: len(registered.created) == 3)
    assert registered.created == ["a", "a", "a"]
    assert [store.subtask(name).reason for name in "abc"] == ["busy", None, None]
    registered.answer = lambda _: OK
    assert settled(store, "c", "accepted")
    assert registered.created[-3:] == ["a", "b", "c"]


def test_a_service_that_hangs_holds_up_no_other(
    platform: Platform, store: Store, registered: ScriptedService
) -> None:
    free = threading.Event()
    registered.answer = lambda _: Reply(hold=free)
    with ScriptedService("other") as other:
        platform.add_service(other.url)
        platform.create_task("scripted", {}, subtask_id="held")
        registered.wait_for(lambda: registered.created == ["held"])
        platform.create_task("other", {}, subtask_id="free")
        assert settled(store, "free", "accepted")
        assert store.subtask("held").dispatch == "waiting"
    free.set()
    assert settled(store, "held", "accepted")


def test_a_plugin_that_hangs_holds_up_no_other_of_its_service(
    platform: Platform, store: Store, service: ScriptedService
) -> None:
    service.health = service.healthy("slow", "quick")
    free = threading.Event()
    service.answer = lambda sent: Reply(hold=free) if "/slow/" in sent.path else OK
    assert [plugin.base for plugin in platform.add_service(service.url)] == [
        f"{service.url}/quick",
        f"{service.url}/slow",
    ]
    platform.create_task("slow", {}, subtask_id="held")
    platform.create_task("quick", {}, subtask_id="free")
    assert settled(store, "free", "accepted")
    assert store.subtask("held").dispatch == "waiting"
    free.set()


def test_a_service_that_is_gone_gets_its_tasks_when_it_is_back(
    platform: Platform, store: Store
) -> None:
    with ScriptedService() as service:
        platform.add_service(service.url)
    platform.create_task("scripted", {}, subtask_id="a")
    assert eventually(lambda: "reached" in str(store.subtask("a").reason))
    with ScriptedService(port=service.port) as service:
        assert settled(store, "a", "accepted")
        assert service.created == ["a"]


def test_a_plugin_moves_with_its_tasks(platform: Platform, store: Store) -> None:
    with ScriptedService() as old:
        platform.add_service(old.url)
    platform.create_task("scripted", {}, subtask_id="a")
    with ScriptedService() as new:
        platform.add_service(new.url)
        assert settled(store, "a", "accepted")
        assert store.subtask("a").service == new.url
        assert [plugin.service for plugin in platform.plugins()] == [new.url]


def test_a_plugin_that_reports_before_it_answers_has_accepted(
    platform: Platform, store: Store, registered: ScriptedService
) -> None:
    def run_first(sent: Sent) -> Reply:
        report(store, sent.content["subtask_id"], TaskStatus.RUNNING)
        return said(1, "too late to say no")

    registered.answer = run_first
    platform.create_task("scripted", {}, subtask_id="a")
    assert settled(store, "a", "accepted")
    assert eventually(lambda: [one.kind for one in store.events("a")] == ["dispatch", "status"])
    platform.create_task("scripted", {}, subtask_id="b")  # by then the first answer was read
    assert settled(store, "b", "accepted")
    assert store.subtask("a").status is TaskStatus.RUNNING


def test_a_signature_is_never_sent_twice(
    platform: Platform, store: Store, registered: ScriptedService
) -> None:
    registered.answer = lambda _: OK if len(registered.created) > 2 else said(1, "busy")
    platform.create_task("scripted", {}, subtask_id="a")
    assert settled(store, "a", "accepted")
    assert registered.unsigned == []


def test_a_signature_that_is_refused_once_is_made_anew(
    platform: Platform, store: Store, registered: ScriptedService
) -> None:
    refusal = said(401, "taken before", status=401)
    registered.answer = lambda _: refusal if len(registered.created) == 1 else OK
    platform.create_task("scripted", {}, subtask_id="a")
    assert settled(store, "a", "accepted")
    registered.answer = lambda _: refusal
    platform.create_task("scripted", {}, subtask_id="b")
    assert settled(store, "b", "refused")
    assert registered.created == ["a", "a", "b", "b"]


def test_what_waits_is_cancelled_at_once(platform: Platform, store: Store) -> None:
    with ScriptedService() as service:
        platform.add_service(service.url)
    platform.create_task("scripted", {}, subtask_id="a")
    platform.create_task("scripted", {}, subtask_id="b")
    assert platform.manage("b", TaskStatus.CANCELLED).status is TaskStatus.CANCELLED
    with ScriptedService(port=service.port) as service:
        assert settled(store, "a", "accepted")
        assert settled(store, "b", "none")
        assert service.calls == [("create_task", "a", None)]


def test_a_cancel_while_it_is_being_sent_reaches_the_plugin(
    platform: Platform, store: Store, registered: ScriptedService
) -> None:
    free = threading.Event()
    registered.answer = lambda sent: Reply(hold=free) if sent.call == "create_task" else OK
    platform.create_task("scripted", {}, subtask_id="a")
    registered.wait_for(lambda: registered.created == ["a"])
    assert platform.manage("a", TaskStatus.CANCELLED).status is TaskStatus.CANCELLED
    free.set()
    registered.wait_for(lambda: len(registered.calls) == 2)
    assert registered.calls == [("create_task", "a", None), ("manage_task", "a", 4)]
    with pytest.raises(Refused, match="already completed"):
        report(store, "a", TaskStatus.RUNNING)


def test_another_process_may_create_tasks_too(
    platform: Platform, store: Store, registered: ScriptedService
) -> None:
    store.create_subtask("alone")
    store.create_subtask("a", assignment=Assignment("scripted", registered.url))
    assert settled(store, "a", "accepted")
    assert store.subtask("alone").dispatch == "none"
    assert registered.created == ["a"]


def test_what_cannot_be_created_is_refused(platform: Platform, registered: ScriptedService) -> None:
    with pytest.raises(Refused, match="no plugin nobody"):
        platform.create_task("nobody", {})
    with pytest.raises(Refused, match="no such input"):
        platform.create_task("scripted", {}, input="nothing")
    for bad in ("a/b", "a\nb", "x" * 201, "\\"):
        with pytest.raises(Refused, match="200 printable"):
            platform.create_task("scripted", {}, subtask_id=bad)
    platform.create_task("scripted", {}, subtask_id="a")
    with pytest.raises(Refused, match="already"):
        platform.create_task("scripted", {}, subtask_id="a")


def test_a_config_arrives_as_it_was_given(
    platform: Platform, store: Store, registered: ScriptedService
) -> None:
    config = {"text": "\u00fc\u2028</script>", "nested": [1, 2.5, None, {"a": True}]}
    platform.create_task("scripted", config, subtask_id="a")
    assert settled(store, "a", "accepted")
    assert json.dumps(registered.sent[-1].content["config"]) == json.dumps(config)
