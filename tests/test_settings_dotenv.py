"""Settings out of a ``.env`` file."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugin_framework.errors import SettingsError
from plugin_framework.settings import load_settings


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_dotenv_is_read_and_may_hold_other_things() -> None:
    Path(".env").write_text(
        "\ufeffDATAHUB_PLUGIN=word-count\nOTHER=1\nexport DATAHUB_TRANSFER__CONCURRENCY=8\n"
        "DATAHUB_HEARTBEAT_SECOND=9\n",
        "utf-8",
    )
    settings = load_settings()
    assert settings.plugin == "word-count"
    assert settings.transfer.concurrency == 8


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('DATAHUB_HEARTBEAT_SECONDS="7\nDATAHUB_PLUGIN=p\n', 1),
        ("DATAHUB_PLUGIN=p\n=5\n", 2),
        ("not a setting at all\n", 1),
    ],
)
def test_a_line_that_cannot_be_read_is_a_problem(text: str, line: int) -> None:
    Path(".env").write_text(text, "utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.problems == (f".env, line {line}: expected NAME=value, with quotes closed",)


def test_a_folder_is_no_dotenv() -> None:
    Path(".env").mkdir()
    with pytest.raises(SettingsError, match=r"^\.env: expected a readable UTF-8 text file"):
        load_settings()
