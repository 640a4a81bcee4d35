"""The kernel kills a plugin that takes more memory than its control group has; the cause is named.

In groups made for the test, of version 2 and of version 1: each where the machine has the memory
controller in it, and lets a group be made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from plugin_framework.isolation.memory import GROUPS
from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, alive, eventually, finish, start
from tests.strict_datahub import StrictDatahub

LIMIT = 300 << 20
ENTER = ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"')


@contextmanager
def made(parent: Path, limits: dict[str, int]) -> Iterator[Path]:
    folder = parent / f"plugin-test-{os.getpid()}"
    folder.mkdir()
    try:
        for name, value in limits.items():
            # Where this is no control group, or has not this limit, there is no such file.
            with (folder / name).open("r+") as file:
                file.write(str(value))
        yield folder
    finally:
        eventually(lambda: not any(map(alive, members(folder))))
        folder.rmdir()


def members(folder: Path) -> list[int]:
    return [int(number) for number in (folder / "cgroup.procs").read_text().split()]


@contextmanager
def enabled(parent: Path) -> Iterator[None]:
    """The memory controller in the groups below ``parent``; as it was, afterwards."""
    switch = parent / "cgroup.subtree_control"
    before = switch.read_text().split()
    if "memory" not in before:
        switch.write_text("+memory")
    try:
        yield
    finally:
        if "memory" not in before:
            switch.write_text("-memory")


@contextmanager
def version_2() -> Iterator[Path]:
    with enabled(GROUPS), made(GROUPS, {"memory.max": LIMIT}) as folder:
        with suppress(OSError):
            (folder / "memory.swap.max").write_text("0")
        yield folder


@contextmanager
def version_1() -> Iterator[Path]:
    with made(GROUPS / "memory", {"memory.limit_in_bytes": LIMIT}) as folder:
        yield folder


@pytest.fixture(params=[version_2, version_1], ids=["version 2", "version 1"])
def group(request: pytest.FixtureRequest) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(request.param())
        except OSError as error:
            pytest.skip(f"no memory limit is to be had here: {error}")
        yield folder


def test_out_of_memory_by_the_kernels_hand(tmp_path: Path, group: Path) -> None:
    with StrictDatahub(SUBTASK) as hub:
        prefix = (*ENTER, str(group))
        process = start(plugins.Hungry, hub, tmp_path, "--set", "way=all", prefix=prefix)
        code, outcome, said = finish(process, timeout=60)
        assert code == 1, said
        assert hub.statuses == [1, 5]
        assert hub.violations == []
    assert "ran out of memory, and the kernel killed it" in outcome["error"]
    peak = re.search(r"peak memory (\d+) MiB", outcome["error"])
    assert peak
    assert 100 <= int(peak[1]) <= LIMIT >> 20
