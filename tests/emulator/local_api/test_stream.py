"""What changes, as it changes."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from plugin_framework.emulator import Emulator, Store
from plugin_framework.emulator.local_api import hub
from plugin_framework.emulator.local_api.hub import _WAITING, Client
from tests.emulator.calling import MIB, Plugin, send
from tests.emulator.local_api.calling import Local, Stream, task


def test_a_page_sees_what_changes(emulator: Emulator, plugin: Plugin, running: str) -> None:
    with Stream(emulator.url) as stream:
        assert stream.response.getheader("content-type") == "text/event-stream; charset=utf-8"
        plugin.beat(running, process=7)
        for changed in stream.until("tasks"):
            progress = {each["subtask_id"]: each["progress"] for each in changed["tasks"]}
            if progress.get(running) == 7:
                break
        else:
            pytest.fail("the stream ended")
        assert sum(changed["counts"].values()) == len(emulator.store.subtasks())


def test_all_pages_are_told_the_same(emulator: Emulator, plugin: Plugin, running: str) -> None:
    with Stream(emulator.url) as one, Stream(emulator.url) as other:
        plugin.status(running, 2)
        for stream in (one, other):
            shown = (
                each
                for changed in stream.until("tasks")
                for each in changed["tasks"]
                if each["subtask_id"] == running and each["status"] == 2
            )
            assert next(shown)["status_name"] == "paused"


def test_many_changes_are_one_message(emulator: Emulator, store: Store, running: str) -> None:
    with Stream(emulator.url) as stream:
        stream.next("tasks")
        began = time.monotonic()
        plugin = Plugin(emulator.url, "key-1", "secret-1")
        for process in range(100):
            plugin.beat(running, process=process)
        count = 0
        for changed in stream.until("tasks"):
            count += 1
            if any(each["progress"] == 99 for each in changed["tasks"]):
                break
        assert count <= 2 * (time.monotonic() - began) + 2


def test_a_task_that_is_watched_tells_all_of_itself(
    emulator: Emulator, local: Local, plugin: Plugin, running: str
) -> None:
    line = {"at": 1, "level": "INFO", "logger": "x", "message": "first"}
    local.post(task(running, "/logs"), [line])
    with Stream(emulator.url, task=running) as stream:
        assert [event["kind"] for event in stream.next("events")] == ["status"]
        assert [line["message"] for line in stream.next("logs")] == ["first"]
        plugin.beat(running)
        assert [event["kind"] for event in stream.next("events")] == ["heartbeat"]
        local.post(task(running, "/logs"), [line | {"message": "second"}])
        assert [line["message"] for line in stream.next("logs")] == ["second"]


def test_a_page_that_comes_back_misses_nothing_and_gets_nothing_twice(
    emulator: Emulator, local: Local, plugin: Plugin, running: str
) -> None:
    with Stream(emulator.url, task=running) as stream:
        stream.next("events")
        plugin.status(running, 2)
        stream.next("events")
        while not stream.place:
            stream.next("tasks")
        place = stream.place
    plugin.status(running, 1)
    local.post(task(running, "/logs"), [{"at": 1, "level": "I", "logger": "", "message": "m"}])
    with Stream(emulator.url, {"Last-Event-ID": place}, task=running) as stream:
        (changed,) = stream.next("tasks")["tasks"]
        assert (changed["subtask_id"], changed["status"]) == (running, 1)
        assert [event["detail"] for event in stream.next("events")] == [{"status": 1}]
        assert [line["message"] for line in stream.next("logs")] == ["m"]


def test_a_list_and_the_stream_after_it_leave_no_gap(
    emulator: Emulator, local: Local, plugin: Plugin, running: str
) -> None:
    revision = local.json("tasks")["revision"]
    plugin.beat(running, process=33)
    with Stream(emulator.url, since=revision) as stream:
        (changed,) = stream.next("tasks")["tasks"]
        assert (changed["subtask_id"], changed["progress"]) == (running, 33)


def test_who_was_away_for_too_long_is_to_load_anew(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path) as emulator:
        with emulator.store.database.transaction() as sql:
            sql.executemany(
                "INSERT INTO subtasks (subtask_id, config, created_at) VALUES (?, '{}', 0)",
                [(str(number),) for number in range(1001)],
            )
        with Stream(emulator.url, since=0) as stream:
            assert stream.next("reset") == {}
            Plugin(emulator.url).status("7", 1)
            (changed,) = stream.next("tasks")["tasks"]
            assert changed["subtask_id"] == "7"


def test_rates_are_those_of_what_flows(tmp_path: Path) -> None:
    source = tmp_path / "input"
    source.write_bytes(bytes(64 * MIB))
    with Emulator(state_dir=tmp_path / "state") as emulator:
        emulator.store.create_subtask("a", input=source)
        url = Plugin(emulator.url).download_url("a")
        with Stream(emulator.url) as stream:
            stream.next("tasks")
            assert len(send("GET", url).body) == 64 * MIB
            seen = []
            for rates in stream.until("rates"):
                seen.append(rates["a"])
                if not rates["a"]["down"]:
                    break
            assert all(rate["up"] == 0 for rate in seen)
            assert sum(rate["down"] for rate in seen) > 0
        kinds = [event.kind for event in emulator.store.events("a")]
    assert kinds == ["download", "get"]


@pytest.mark.parametrize("query", ["task=no-such", "since=x", "events=-1"])
def test_a_bad_stream_is_refused(local: Local, query: str) -> None:
    answer = send("GET", f"{local.url}/local/stream?{query}")
    assert local.refusal(answer)[0] in {400, 404}


@pytest.mark.parametrize("place", ["x", "1-2", "1-2-3-4", "9" * 30])
def test_a_place_that_is_none_of_ours_is_refused(local: Local, place: str) -> None:
    answer = send("GET", f"{local.url}/local/stream", None, [("Last-Event-ID", place)])
    assert local.refusal(answer)[0] == 400


def test_streams_end_with_the_server(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Emulator(state_dir=tmp_path) as emulator:
        streams = [Stream(emulator.url) for _ in range(5)]
        for stream in streams:
            stream.next("tasks")
    for stream in streams:
        assert list(stream.until("nothing")) == []
        stream.close()
    assert capfd.readouterr() == ("", "")


def test_a_waiting_call_ends_with_the_server(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        statuses: list[int] = []
        with Emulator(state_dir=tmp_path) as emulator:
            local = Local(emulator.url)
            thread = threading.Thread(
                target=lambda: statuses.append(local.post("services", {"url": url}).status)
            )
            thread.start()
            asked, _ = silent.accept()
        thread.join(30)
        asked.close()
    assert statuses == [503]
    assert capfd.readouterr() == ("", "")


def test_who_does_not_read_is_held_nothing_for() -> None:
    client = Client(revision=1)
    for _ in range(10 * _WAITING):
        client.tell(b"event: tasks\n\n")
    assert client.waiting.qsize() <= _WAITING
    told = [client.waiting.get_nowait() for _ in range(client.waiting.qsize())]
    assert told[0] == b"event: reset\ndata: {}\n\n"
    client.tell(None)
    assert client.waiting.get_nowait() is None


def test_a_page_that_does_not_read_holds_up_nobody(
    emulator: Emulator, plugin: Plugin, running: str
) -> None:
    stuck = http.client.HTTPConnection(urlsplit(emulator.url).netloc)
    stuck.request("GET", "/local/stream")
    with Stream(emulator.url) as stream:
        plugin.beat(running, process=61)
        shown = (
            each
            for changed in stream.until("tasks")
            for each in changed["tasks"]
            if each["subtask_id"] == running and each["progress"] == 61
        )
        assert next(shown)
    stuck.close()


def test_a_quiet_stream_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "KEEP_ALIVE_SECONDS", 0.01)
    monkeypatch.setattr(hub, "TICK_SECONDS", 0.001)
    store = Store(tmp_path)

    async def first_comment() -> bytes:
        stream = hub.Hub(store).stream(Client(revision=0))
        async for message in stream:
            if message.startswith(b":"):
                await stream.aclose()
                return message
        return b""

    assert asyncio.run(first_comment()) == b": keep-alive\n\n"
    store.close()
