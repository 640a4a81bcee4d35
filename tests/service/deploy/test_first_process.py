"""The command as process 1, as it is in a container: it ends when told, and leaves no zombies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service.calling import COMMAND, DEADLINE, ROOT, SIGNED, Caller
from tests.service.hub import Hub

APART = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
if os.geteuid() != 0:
    APART.insert(1, "--map-root-user")


@pytest.fixture(autouse=True, scope="module")
def _can_be_first() -> None:
    try:
        tried = subprocess.run([*APART, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if tried.returncode:
        pytest.skip(f"no process namespaces here: {tried.stderr.strip()}")


class FirstProcess:
    """The command in a process namespace of its own; ``first`` is its number outside of it."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        self.outer = running
        self.first = 0
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")

        def found() -> bool:
            self.first = int((children.read_text().split() or ["0"])[0])
            return self.first != 0

        wait_until(found)

    def states(self) -> list[str]:
        """The states of all processes within, as letters; ``Z`` is a zombie."""
        found = []
        for path in Path(f"/proc/{self.first}/root/proc").glob("[0-9]*/stat"):
            try:
                found.append(path.read_text().rpartition(")")[2].split()[0])
            except OSError:
                continue  # it ended meanwhile
        return found

    def address(self) -> str:
        """Where the service listens, from its log."""
        assert self.outer.stderr is not None
        for line in self.outer.stderr:
            message = str(json.loads(line)["message"])
            if " on http://" in message:
                return message.rpartition(" ")[2]
        raise AssertionError("the service ended")

    def end(self) -> int:
        """Tell it to end, as a container's runtime does; its exit code."""
        os.kill(self.first, signal.SIGTERM)
        self.outer.communicate(timeout=DEADLINE)
        return self.outer.returncode


@contextmanager
def first_process(hub: Hub, state_dir: Path, *command: str) -> Iterator[FirstProcess]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DATAHUB_")}
    env = {
        "DATAHUB_BASE_URL": hub.url,
        "DATAHUB_STATE_DIR": str(state_dir),
        "DATAHUB_LOG_FORMAT": "json",
        "DATAHUB_GRACE_SECONDS": "5",
        "DATAHUB_POLL_SECONDS": "0",
    }
    with subprocess.Popen(
        [*APART, COMMAND, *command],
        cwd=ROOT,
        env={**clean, **SIGNED, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield FirstProcess(running)
        finally:
            running.kill()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_service_leaves_no_zombies_and_ends_when_told(hub: Hub, tmp_path: Path) -> None:
    serve = ("serve", "tests.service.deploy.plugins:Leaves", "--port", "0")
    with first_process(hub, tmp_path, *serve) as running:
        call = Caller(running.address())
        assert call.create("leaves-1").fate == (200, 0)
        hub.told("leaves-1", 1, 3)
        wait_until(lambda: "Z" not in running.states())
        before = len(running.states())
        for number in (2, 3, 4):
            assert call.create(f"leaves-{number}").fate == (200, 0)
            hub.told(f"leaves-{number}", 1, 3)
        wait_until(lambda: "Z" not in (states := running.states()) and len(states) <= before)
        assert running.end() == 0


@pytest.mark.parametrize("command", ["serve", "run"])
def test_it_ends_its_subtask_before_itself(hub: Hub, tmp_path: Path, command: str) -> None:
    config = {"until": str(tmp_path / "never")}
    subtask_id = f"stopped-{command}"
    options = {
        "serve": ["--port", "0"],
        "run": ["--subtask-id", subtask_id, "--config", json.dumps(config)],
    }
    argv = (command, "tests.service.plugins:Waits", *options[command])
    with first_process(hub, tmp_path / "state", *argv) as running:
        if command == "serve":
            assert Caller(running.address()).create(subtask_id, config).fate == (200, 0)
        wait_until((tmp_path / "order").exists)
        assert running.end() == (0 if command == "serve" else 1)
        hub.told(subtask_id, 1, 5)
