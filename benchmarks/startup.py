"""What a whole local run costs beyond the plugin's own work, and a subtask once all is warm."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.plugins import Nothing
from plugin_framework.engines.local import LocalEngine
from plugin_framework.settings import load_settings
from tests.strict_datahub import StrictDatahub

ROUNDS = 7
SUBTASKS = 30


def main() -> None:
    """Print medians."""
    print(f"run --local, from command to exit: {statistics.median(local_runs()):.2f} s")
    print(f"a subtask on a running engine:     {statistics.median(warm_subtasks()) * 1000:.0f} ms")


def local_runs() -> list[float]:
    """Seconds that each whole run took."""
    taken = []
    command = [sys.executable, "-m", "plugin_framework", "run", "benchmarks.plugins:Nothing"]
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            subprocess.run(
                [*command, "--local", __file__, "--out", folder], check=True, capture_output=True
            )
            taken.append(time.perf_counter() - began)
    return taken


def warm_subtasks() -> list[float]:
    """Seconds that each subtask took, each with its own process."""
    taken = []
    with tempfile.TemporaryDirectory() as state:
        for number in range(SUBTASKS):
            subtask_id = f"benchmark-{number}"
            with StrictDatahub(subtask_id) as hub:
                settings = load_settings(base_url=hub.url, state_dir=Path(state))
                with LocalEngine(Nothing, settings) as engine:
                    engine.run(subtask_id)
                    began = time.perf_counter()
                    engine.run(subtask_id).execute()
                    taken.append(time.perf_counter() - began)
    return taken


if __name__ == "__main__":
    main()
