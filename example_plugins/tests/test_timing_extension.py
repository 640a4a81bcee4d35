from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DISTRIBUTION = Path(__file__).parents[1] / "timing-extension"

PLUGINS = '''
from plugin_framework import DatahubPlugin, TaskResult

class Sync(DatahubPlugin):
    """Returns a TaskResult."""
    def process(self, ctx):
        return TaskResult(total_counts=3, own="field")

class Async(DatahubPlugin):
    """Returns a mapping."""
    async def on_start(self, ctx):
        pass
    async def process(self, ctx):
        return {"own": "field"}

class Nothing(DatahubPlugin):
    """Returns nothing."""
    def process(self, ctx):
        pass

class Own(DatahubPlugin):
    """Has a field of that name."""
    def process(self, ctx):
        return {"timing": "my own"}

class Broken(DatahubPlugin):
    """Fails."""
    def process(self, ctx):
        raise ValueError("my own fault")
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the extension installed, and plugins to time."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", folder]
    command = [sys.executable, "-m", "pip", "install", *options, DISTRIBUTION]
    subprocess.run(command, check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (folder / "timed_plugins.py").write_text(PLUGINS, "utf-8")
    return folder


def run(installed: Path, plugin: str, out: Path, **settings: str) -> dict[str, Any]:
    """The outcome that the command prints."""
    command = [sys.executable, "-m", "plugin_framework", "run", f"timed_plugins:{plugin}"]
    done = subprocess.run(
        [*command, "--local", __file__, "--out", out],
        check=False,
        capture_output=True,
        cwd=installed,
        env=os.environ | {"PYTHONPATH": str(installed), **settings},
    )
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


COUNTS = {"total_counts": 0, "success_counts": 0, "failed_counts": 0}


@pytest.mark.parametrize(
    ("plugin", "isolation", "fields"),
    [
        ("Sync", "process", COUNTS | {"total_counts": 3, "own": "field"}),
        ("Sync", "thread", COUNTS | {"total_counts": 3, "own": "field"}),
        ("Async", "process", {"own": "field"}),
        ("Nothing", "process", COUNTS),
    ],
)
def test_results_of_all_kinds_are_timed(
    installed: Path, tmp_path: Path, plugin: str, isolation: str, fields: dict[str, Any]
) -> None:
    result = run(installed, plugin, tmp_path, DATAHUB_ISOLATION=isolation)["result"]
    timing = result.pop("timing")
    assert result == fields
    assert timing.keys() == {"on_start", "process", "processor"}
    assert all(0 <= seconds < 60 for seconds in timing.values())


def test_what_the_plugin_says_stands(installed: Path, tmp_path: Path) -> None:
    assert run(installed, "Own", tmp_path)["result"] == {"timing": "my own"}
    failed = run(installed, "Broken", tmp_path)
    assert failed["status_name"] == "failed"
    assert failed["error"] == "ValueError: my own fault"
