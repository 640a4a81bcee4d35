"""The emulator under load, small: nothing that it has acknowledged is lost."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.emulator import KEY, SECRET, Measured, Plugins, losses
from plugin_framework.emulator import Emulator

DEADLINE = 60.0


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path / "datahub", key=KEY, secret=SECRET) as emulator:
        measured = Measured(
            emulator, tmp_path, subtasks=100, seconds=3, beat=0.5, finished=12_000, asked=20
        )
        lines = list(measured.lines())
        assert measured.lost == [], lines
        assert measured.acknowledged.refused == []
        # How many there are depends on how busy the machine is.
        assert measured.acknowledged.beats
        assert measured.acknowledged.results.keys() == measured.acknowledged.outputs.keys() != set()


def test_what_is_lost_is_found(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path, key=KEY, secret=SECRET) as emulator:
        plugins = Plugins(_plan(emulator, ["one"], seconds=0.5))
        plugins.run()
        assert list(losses(plugins.done, emulator.store)) == []
        plugins.done.beats["one"].append([0, 7])
        plugins.done.statuses["one"].append(2)
        plugins.done.results["one"] = {}
        plugins.done.outputs["one"] = "one"
        assert len(list(losses(plugins.done, emulator.store))) == 4


def test_an_emulator_that_is_killed_has_kept_what_it_acknowledged(tmp_path: Path) -> None:
    names = [f"running-{number}" for number in range(50)]
    with Emulator(state_dir=tmp_path, key=KEY, secret=SECRET) as emulator:
        plugins = Plugins(_plan(emulator, names, seconds=DEADLINE))
        thread = threading.Thread(target=_until_it_is_gone, args=(plugins,))
        thread.start()
        while thread.is_alive() and len(plugins.done.beats) < len(names):
            thread.join(0.01)
        os.kill(emulator.pid, signal.SIGKILL)
        thread.join(DEADLINE)
        assert len(plugins.done.beats) == len(names)
        assert list(losses(plugins.done, emulator.store)) == []


def _until_it_is_gone(plugins: Plugins) -> None:
    with suppress(OSError):
        plugins.run()


def _plan(emulator: Emulator, names: list[str], *, seconds: float) -> dict[str, Any]:
    for name in names:
        emulator.store.create_subtask(name)
    return {
        "url": emulator.url,
        "running": names,
        "finishing": [],
        "finish_every": 1,
        "beat": 0.2,
        "seconds": seconds,
        "asked": 5,
    }
