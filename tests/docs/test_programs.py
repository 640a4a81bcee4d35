"""Programs of the pages, used in ways that the pages only tell of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.docs.markdown import ROOT, blocks
from tests.free_ports import free_port

DEADLINE = 110.0


def test_the_local_datahub_goes_on_with_what_is_there_and_ends_quietly(tmp_path: Path) -> None:
    page = ROOT / "docs" / "tutorial" / "first-plugin.md"
    (program,) = [block.text for block in blocks(page) if block.file_name == "local_datahub.py"]
    port = free_port()
    (tmp_path / "local_datahub.py").write_text(program.replace("8765", str(port)), encoding="utf-8")
    (tmp_path / "cats.txt").touch()
    assert [_until_it_is_interrupted(tmp_path, port) for _ in range(2)] == [(0, "")] * 2


def _until_it_is_interrupted(folder: Path, port: int) -> tuple[int, str]:
    """Its exit code, and all that it printed; Ctrl-C goes to its child process, too."""
    argv = [sys.executable, "local_datahub.py"]
    with subprocess.Popen(
        argv, cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            _wait_for_answers(f"http://127.0.0.1:{port}/", process)
            os.killpg(process.pid, signal.SIGINT)
            _, printed = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    return process.returncode, printed


def _wait_for_answers(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(url, timeout=DEADLINE)
        except httpx.TransportError:
            time.sleep(0.01)  # between two attempts
        else:
            return
    raise AssertionError(f"it ended, or does not answer: {process.communicate()[1]}")
