"""SIGTERM at random moments, once and twice; and the command as a container's first process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks import signals
from tests.isolation.hostile import Hostile
from tests.lifecycle import plugins
from tests.lifecycle.running import SUBTASK, alive, eventually, finish, start
from tests.strict_datahub import StrictDatahub

OWN_IDS = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL")


def test_signals_at_random_moments_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`SEED` repeats a run."""
    monkeypatch.setattr(signals, "LATE", 30)  # how fast it is, is measured elsewhere
    seed = int(os.environ.get("SEED", time.time_ns() % 10**6))
    found = signals.main(count=12, seed=seed)
    assert found.wrong == []
    assert found.ends.total() == 24


def prefixes() -> tuple[str, ...]:
    """How to be the first process of a namespace; nothing where that is not allowed."""
    for prefix in (OWN_IDS, (OWN_IDS[0], "--user", "--map-root-user", *OWN_IDS[1:])):
        try:
            done = subprocess.run([*prefix, "true"], check=False, capture_output=True, timeout=20)
        except OSError:
            break
        if done.returncode == 0:
            return prefix
    return ()


@pytest.fixture(scope="module")
def prefix() -> tuple[str, ...]:
    return prefixes()


def children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended meanwhile
            found += [int(child) for child in path.read_text().split()]
    return found


def below(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from below(child)


def the_command(process: subprocess.Popen[str], prefix: tuple[str, ...]) -> int:
    """The command's id, as seen from here."""
    if not prefix:
        return process.pid
    eventually(lambda: children(process.pid))
    return children(process.pid)[0]


def test_as_a_first_process_it_obeys_signals(tmp_path: Path, prefix: tuple[str, ...]) -> None:
    """A first process gets no signal for which it has no handler."""
    with StrictDatahub(SUBTASK) as hub:
        process = start(plugins.Steps, hub, tmp_path, prefix=prefix)
        eventually((tmp_path / "started").exists)
        hub.wait_for(lambda: hub.heartbeats)
        os.kill(the_command(process, prefix), signal.SIGTERM)
        code, outcome, _ = finish(process)
        assert (code, outcome["error"]) == (1, "stopped by SIGTERM")
        assert hub.statuses == [1, 5]
        assert hub.violations == []


def test_as_a_first_process_it_leaves_no_zombies(tmp_path: Path, prefix: tuple[str, ...]) -> None:
    """Children, grandchildren and daemons of a task are ended and reaped while it still reports."""
    with StrictDatahub(SUBTASK) as hub:
        hub.fail_next("/api/task/result", 1000, "503")
        process = start(
            Hostile, hub, tmp_path, "--set", "do=leak", prefix=prefix, grace_seconds=0.2
        )
        hub.wait_for(lambda: any(call.path == "/api/task/result" for call in hub.calls))
        command = the_command(process, prefix)
        # What is left is the process that has the plugin imported.
        eventually(lambda: len(list(below(command))) == 1)
        os.kill(command, signal.SIGTERM)
        assert finish(process)[0] == 75
        eventually(lambda: not Path(f"/proc/{command}").exists())


def test_as_a_first_process_it_reaps_what_a_dead_forkserver_leaves(
    tmp_path: Path, prefix: tuple[str, ...]
) -> None:
    with StrictDatahub(SUBTASK) as hub:
        process = start(plugins.Steps, hub, tmp_path, prefix=prefix, grace_seconds=0.2)
        eventually((tmp_path / "started").exists)
        hub.wait_for(lambda: hub.heartbeats)
        hub.fail_next("/api/task/update_status", 1000, "503")
        command = the_command(process, prefix)
        os.kill(children(command)[0], signal.SIGKILL)
        hub.wait_for(lambda: any(call.content.get("status") == 5 for call in hub.calls))
        eventually(lambda: not list(below(command)))
        os.kill(command, signal.SIGTERM)
        code, outcome, _ = finish(process)
        assert (code, outcome["status"]) == (75, 5)
        assert "SIGKILL" in outcome["error"]


def test_a_killed_supervisor_leaves_no_descendant(tmp_path: Path) -> None:
    """Neither the plugin, nor a child in a session of its own, nor a grandchild."""
    with StrictDatahub(SUBTASK) as hub:
        process = start(plugins.Family, hub, tmp_path)
        eventually((tmp_path / "started").exists)
        family = list(below(process.pid))
        assert len(family) >= 4
        process.kill()
        process.communicate()
        eventually(lambda: not any(alive(pid) for pid in family))
