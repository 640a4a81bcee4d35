"""Transfers go on after a crash with what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, finish, start
from tests.strict_datahub import StrictDatahub

PART = 5 * 2**20
PARTS = 24
CONCURRENCY = 4


def puts(hub: StrictDatahub) -> list[str]:
    return [call.target for call in hub.storage.calls if call.method == "PUT"]


@pytest.mark.parametrize("file", ["another", pytest.param("the same", marks=pytest.mark.long)])
def test_an_upload_killed_after_60_percent_sends_only_the_rest(tmp_path: Path, file: str) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(range(256)) * (PART * PARTS // 256))
    settings = {
        "transfer__chunk_size": str(PART),
        "transfer__bandwidth": str(60 * 2**20),
        "transfer__concurrency": str(CONCURRENCY),
    }
    with StrictDatahub(SUBTASK, input_file=source) as hub:
        command = start(plugins.Mirror, hub, tmp_path, **settings)
        hub.wait_for(lambda: len(puts(hub)) >= PARTS * 6 // 10)
        command.kill()
        command.communicate()
        before = len(puts(hub))
        gets = [call for call in hub.storage.calls if call.method == "GET"]
        if file == "another":
            (tmp_path / "salt").write_bytes(b"another")
        code, outcome, said = finish(start(plugins.Mirror, hub, tmp_path, **settings))
        assert code == 0, said
        assert outcome["attempt"] == 2
        again = len(puts(hub)) - before
        if file == "the same":
            assert again <= PARTS - before + CONCURRENCY
            fetched = [call for call in hub.storage.calls if call.method == "GET"][len(gets) :]
            assert [call.range for call in fetched] == ["bytes=0-0"]
        else:
            assert again == PARTS
        expected = source.read_bytes()
        if file == "another":
            expected = b"another" + expected[7:]
        (content,) = hub.outputs.values()
        assert (content if isinstance(content, bytes) else content.read_bytes()) == expected
        assert hub.violations == []
        assert hub.statuses[-1] == 3
