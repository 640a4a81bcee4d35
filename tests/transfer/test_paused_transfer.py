"""A pause while files move, from Datahub to the store."""

from __future__ import annotations

from pathlib import Path

from plugin_framework.transfer.plan import CHUNK, MIB
from tests.lifecycle.running import SUBTASK, Background
from tests.strict_datahub import StrictDatahub
from tests.transfer import plugins


def test_a_pause_holds_a_download_and_lets_the_hooks_store_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(2 * CHUNK + MIB)  # three ranges, of two seconds and less
    slow = {"transfer": {"bandwidth": CHUNK // 2, "concurrency": 1}}
    with (
        StrictDatahub(SUBTASK, input_file=source) as hub,
        Background(plugins.Fetches, hub, tmp_path, **slow) as task,
    ):

        def ranges() -> int:
            return sum(call.method == "GET" for call in hub.storage.calls)

        hub.wait_for(ranges)
        hub.set_status(2)
        hub.wait_for(lambda: hub.statuses == [1, 2])
        assert hub.outputs["paused"] == b"paused"
        # The range that was under way ends; for as long again, none begins.
        beats = len(hub.heartbeats)
        hub.wait_for(lambda: len(hub.heartbeats) >= beats + 25)
        assert ranges() < 3
        hub.set_status(1)
        outcome = task.ended
        assert outcome.result is not None
        assert outcome.result["size"] == source.stat().st_size
        assert hub.outputs["resumed"] == b"resumed"
        assert hub.statuses == [1, 2, 1, 3]
        assert hub.violations == []
