"""FAULTS.md, row 83: a plugin's process cannot read its supervisor's environment or memory."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from plugin_framework.emulator import Emulator
from tests.cli.calling import COMMAND, PROJECT, Ended, end_of, environment
from tests.security.watchful import CANARY, FOUND

WATCHFUL = "tests.security.watchful:Watchful"
PR_CAPBSET_DROP = 24
SEEING = {"CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38}
"""What lets a process look into others whatever they say; containers have none of them."""

prctl = ctypes.CDLL(None).prctl


def as_in_a_container() -> None:
    """Give up, for good, what a test that is run by root has and a container has not."""
    if os.geteuid() == 0:
        for capability in SEEING.values():
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def run(folder: Path, *, plugin: str, datahub: Emulator) -> Ended:
    datahub.store.create_subtask("s")
    variables = {
        "DATAHUB_BASE_URL": datahub.url,
        "DATAHUB_API_KEY": "k",
        "DATAHUB_API_SECRET": "s3cret",
        "DATAHUB_STATE_DIR": str(folder / "state"),
    }
    return command("run", f"tests.security.curious:{plugin}", "--subtask-id", "s", **variables)


def command(*arguments: str, **variables: str) -> Ended:
    process = subprocess.Popen(
        [COMMAND, *arguments],
        cwd=PROJECT,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_in_a_container,  # noqa: PLW1509 - a system call, and nothing else
    )
    with process:
        return end_of(process)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells processes so")
def test_the_supervisor_cannot_be_read_by_the_plugins_process(tmp_path: Path) -> None:
    with Emulator(state_dir=tmp_path / "datahub", key="k", secret="s3cret") as datahub:
        ended = run(tmp_path, plugin="Spy", datahub=datahub)
    assert ended.code == 0, ended.err
    tried = ended.outcome["result"]
    # What anybody may see is seen: it was the right process.
    assert tried.pop("status").startswith("open: ")
    assert set(tried.values()) == {"Permission denied"}, tried


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells processes so")
@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        (("run", WATCHFUL, "--local", __file__, "--out", "OUT"), {"emulator"}),
        (("check", WATCHFUL, "--rule", "resume-after-kill"), {"emulator", "attempt"}),
    ],
)
def test_no_process_that_a_command_starts_shows_its_secret(
    tmp_path: Path, arguments: tuple[str, ...], others: set[str]
) -> None:
    found = tmp_path / "found"
    ended = command(
        *(str(tmp_path / "out") if each == "OUT" else each for each in arguments),
        DATAHUB_API_SECRET=CANARY,
        DATAHUB_STATE_DIR=str(tmp_path / "state"),
        **{FOUND: str(found)},
    )
    assert found.exists(), ended.err
    seen = found.read_text().splitlines()
    shown = [line for line in seen if not line.startswith("Permission denied: ")]
    # The plugin's own can be looked into.
    assert shown
    assert {line for line in shown if "isolation.forkserver" not in line} == set()
    assert {line for line in shown if not line.startswith("no canary: ")} == set()
    assert {name for name in others if any(name in line for line in seen)} == others


def test_without_that_it_could_be_read(tmp_path: Path) -> None:
    """So the test above would notice."""
    program = (
        "import os, subprocess, sys; subprocess.run([sys.executable, '-c',"
        " f'print(len(open(\"/proc/{os.getpid()}/environ\").read()))'], check=True)"
    )
    seen = subprocess.run(
        [sys.executable, "-c", program],
        preexec_fn=as_in_a_container,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert int(seen.stdout) > 0


def test_a_plugins_process_can_be_looked_into(tmp_path: Path) -> None:
    """By a debugger of its user: what is hidden is the supervisor alone."""
    program = (
        "import subprocess, sys; from plugin_framework.hidden import hide; hide();"
        " child = subprocess.run([sys.executable, '-c',"
        " 'import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))'], check=True)"
    )
    dumpable = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert dumpable.stdout == "1\n"
