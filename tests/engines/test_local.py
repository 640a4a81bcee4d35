"""The engine: what it makes, it ends."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.engines.local import LocalEngine, engines_of
from plugin_framework.errors import ConfigurationError, JournalError, SettingsError
from plugin_framework.settings import load_settings
from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, eventually, finish, settings_for, start
from tests.strict_datahub import StrictDatahub

SECRET = "an-api-secret-0001"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread has ended meanwhile
            found.update((task / "children").read_text().split())
    return found


def test_a_journal_that_cannot_be_opened_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3").mkdir()
    before = children()
    with StrictDatahub(SUBTASK) as hub, pytest.raises(JournalError):
        LocalEngine(plugins.Quick, settings_for(hub, tmp_path))
    assert children() <= before


def test_a_plugin_that_cannot_be_imported_leaves_no_process(tmp_path: Path) -> None:
    before = children()
    with StrictDatahub(SUBTASK) as hub, pytest.raises(ConfigurationError, match="no_such"):
        LocalEngine("no_such_module:Plugin", settings_for(hub, tmp_path))
    assert children() <= before


def test_closing_ends_every_process_and_file(tmp_path: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        before = children(), open_files()
        for number in range(3):
            with LocalEngine(plugins.Quick, settings_for(hub, tmp_path / str(number))):
                pass
        assert children() <= before[0]
        eventually(lambda: open_files() <= before[1])


def test_datahub_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="DATAHUB_BASE_URL"):
        LocalEngine(plugins.Quick, load_settings(state_dir=tmp_path))


def test_several_share_all_but_their_plugin(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path, base_url="http://127.0.0.1:9")
    names = [f"{plugins.__name__}:{each}" for each in ("Quick", "Copies")]
    before = children()
    with ExitStack() as made:
        quick, copies = engines_of(made, names, settings).values()
        assert (quick.ref.name, copies.ref.name) == ("Quick", "Copies")
        assert quick.journal is copies.journal
        assert quick.client is copies.client
        with pytest.raises(ConfigurationError, match="plugin Quick is given twice"):
            engines_of(made, [names[0]] * 2, settings)
    assert children() <= before


def test_nothing_secret_is_written_anywhere(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(10_000))
    state = tmp_path / "state"
    access: dict[str, Any] = {"key": "plugin-key", "secret": SECRET}
    with StrictDatahub(SUBTASK, input_file=source, **access) as hub:
        for path, how in (("PUT", "503"), ("GET", "reset_after"), ("/api/task/result", "500")):
            hub.fail_next(path, 1, how)  # type: ignore[arg-type]  # a literal above
        settings = {"api_key": "plugin-key", "api_secret": SECRET, "log_level": "DEBUG"}
        command = start(plugins.Copies, hub, state, **settings)
        hub.wait_for(lambda: hub.heartbeats)
        arguments = Path(f"/proc/{command.pid}/cmdline").read_text()
        code, outcome, said = finish(command)
        assert code == 0, said
        assert hub.violations == []
    assert "trying again" in said
    files = [path for path in state.rglob("*") if path.is_file()]
    assert files
    kept = b"".join(path.read_bytes() for path in files).decode(errors="replace")
    for text in (arguments, str(outcome), said, kept):
        assert SECRET not in text
        assert "X-Sig" not in text
    assert not re.search("[0-9a-f]{64}", said), "a signature"
