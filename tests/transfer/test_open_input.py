"""``ctx.open_input()`` from the plugin to the store, in a process of its own and in a thread."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plugin_framework.engines.local import LocalEngine
from plugin_framework.plugin.hookspecs import hookimpl
from tests.lifecycle.running import SUBTASK, Background, eventually, run, settings_for
from tests.strict_datahub import StrictDatahub
from tests.transfer import plugins

MIB = 1024 * 1024
ISOLATIONS = pytest.mark.parametrize("isolation", ["process", "thread"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(MIB) * 40 + b"-end-")
    return path


@ISOLATIONS
def test_what_is_read_is_fetched_in_few_ranges(
    tmp_path: Path, source: Path, isolation: str
) -> None:
    with StrictDatahub(SUBTASK, input_file=source) as hub:
        outcome = run(plugins.ReadsInPlace, hub, tmp_path, isolation=isolation)
        ranges = [call.range for call in hub.storage.calls]
        assert hub.violations == []
    rest = source.read_bytes()[20 * MIB :]
    assert outcome.result == {
        "total_counts": 0,
        "success_counts": 0,
        "failed_counts": 0,
        "end": b"-end-".hex(),
        "digest": hashlib.sha256(rest).hexdigest(),
    }
    ends = [(text or "").removeprefix("bytes=").split("-") for text in ranges]
    # The probe for the size, and nothing twice.
    assert sum(int(end) + 1 - int(start) for start, end in ends) == len(rest) + 1
    assert len(ranges) <= 22


@ISOLATIONS
def test_an_input_that_is_replaced_meanwhile_is_a_typed_error(
    tmp_path: Path, source: Path, isolation: str
) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(source.stat().st_size))
    with (
        StrictDatahub(SUBTASK, input_file=source) as hub,
        ThreadPoolExecutor(1) as pool,
    ):
        config = {"folder": str(tmp_path)}
        running = pool.submit(
            run, plugins.ReadsWhatChanges, hub, tmp_path, config, isolation=isolation
        )
        eventually((tmp_path / "started").exists)
        hub.change_input(other)
        (tmp_path / "go").touch()
        result = running.result(30).result
        assert hub.violations == []
    assert result is not None
    assert result["begin"] == source.read_bytes()[:5].hex()
    assert "changed while it was read" in result["said"]


@ISOLATIONS
def test_a_cancel_ends_a_read_that_hangs(tmp_path: Path, source: Path, isolation: str) -> None:
    with StrictDatahub(SUBTASK, input_file=source) as hub:
        hub.fail_next("GET", 99, "hang")
        with Background(plugins.ReadsForEver, hub, tmp_path, isolation=isolation) as task:
            hub.wait_for(lambda: hub.storage.calls)
            hub.set_status(4)
            hub.wait_for(lambda: hub.statuses == [1, 4])
            assert task.ended.exit_code == 4


def test_a_pause_holds_what_reads(tmp_path: Path, source: Path) -> None:
    with (
        StrictDatahub(SUBTASK, input_file=source) as hub,
        Background(plugins.ReadsForEver, hub, tmp_path) as task,
    ):
        hub.wait_for(lambda: len(hub.storage.calls) > 20)
        hub.set_status(2)
        hub.wait_for(lambda: hub.statuses == [1, 2])
        beats, reads = len(hub.heartbeats), len(hub.storage.calls)
        hub.wait_for(lambda: len(hub.heartbeats) >= beats + 4)
        # What had been asked for ahead may still have come: two spans of four ranges.
        assert len(hub.storage.calls) <= reads + 8
        hub.set_status(4)
        hub.wait_for(lambda: hub.statuses == [1, 2, 4])
        assert task.ended.exit_code == 4


def test_reads_are_told_as_a_transfer(tmp_path: Path, source: Path) -> None:
    seen: list[tuple[str, str, int, int]] = []

    class Listener:
        @hookimpl
        def datahub_transfer(self, direction: str, name: str, sent: int, total: int) -> None:
            seen.append((direction, name, sent, total))

    with StrictDatahub(SUBTASK, input_file=source, input_name="table.bin") as hub:
        settings = settings_for(hub, tmp_path, isolation="thread")
        observers = {"listener": Listener()}
        with LocalEngine(plugins.ReadsInPlace, settings, observers=observers) as engine:
            engine.run(SUBTASK).execute()
    total = source.stat().st_size
    assert {(direction, name, whole) for direction, name, _, whole in seen} == {
        ("download", "table.bin", total)
    }
    assert max(sent for _, _, sent, _ in seen) == total - 20 * MIB
