from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import termios
from pathlib import Path

import pytest

from tests.cli.calling import PLUGINS, end_of, start


class Terminal:
    """A pseudo-terminal of 40 lines of 150 characters."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))

    def shown(self) -> str:
        """All that was written, once the last writer is gone."""
        os.close(self.theirs)
        found = b""
        try:
            while block := os.read(self.ours, 65536):
                found += block
        except OSError:  # Linux says so at its end
            pass
        os.close(self.ours)
        return found.decode()


def plain(shown: str) -> str:
    """Without the terminal's control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "input").write_bytes(b"x")
    return ("run", f"{PLUGINS}:Shown", "--local", "input", "--out", "out")


def test_a_live_line_under_the_log(command: tuple[str, ...], tmp_path: Path) -> None:
    terminal = Terminal()
    with start(*command, cwd=tmp_path, stderr=terminal.theirs) as process:
        shown = terminal.shown()
        ended = end_of(process)
    assert ended.code == 0
    assert ended.outcome["outputs"][0]["name"] == "[red]output"
    assert "\x1b[2K" in shown
    text = plain(shown)
    assert re.search(r"INFO +printed in color", text)
    assert re.search(r"INFO +a step \[/bold\] is done", text)
    assert "\x1b[31m\x1b" not in shown
    assert re.search(rf"{PLUGINS}:Shown running .*%", text)
    assert re.search(r"↑ \[red\]output 32\.0 MiB", text)
    last = text.strip().splitlines()[-1]
    assert re.search(rf"{PLUGINS}:Shown completed ━+ 100% .*output .* 0:00:\d\d", last)


@pytest.mark.parametrize(
    ("plugin", "error"),
    [
        ("Raises", "ValueError: a bug at"),
        ("RaisesThread", "ValueError: a bug at"),
        ("Fails", "half a . pair"),
    ],
)
def test_a_failure_is_told_once(plugin: str, error: str, tmp_path: Path) -> None:
    (tmp_path / "input").touch()
    terminal = Terminal()
    given = ("run", f"{PLUGINS}:{plugin}", "--local", "input", "--out", "out")
    with start(*given, cwd=tmp_path, stderr=terminal.theirs) as process:
        shown = plain(terminal.shown())
        ended = end_of(process)
    assert re.search(error, ended.outcome["error"])
    assert len(re.findall(error, shown)) == 1
    assert "subtask local: running" in shown
    assert "subtask local: failed" not in shown
    assert shown.count("Traceback") == plugin.count("Raises")


def test_json_lines_on_a_terminal_where_they_are_asked_for(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    out, err = Terminal(), Terminal()
    env = {"DATAHUB_LOG_FORMAT": "json"}
    with start(*command, cwd=tmp_path, env=env, stdout=out.theirs, stderr=err.theirs) as process:
        lines = err.shown().splitlines()
        outcome = out.shown()
        assert end_of(process).code == 0
    assert all(json.loads(line)["message"] for line in lines)
    assert json.loads(outcome)["status"] == 3
    assert outcome.count("\n") == 1


def test_json_lines_where_only_stdout_is_a_terminal(tmp_path: Path) -> None:
    terminal = Terminal()
    with start("run", "no-such", "--subtask-id", "1", cwd=tmp_path, stdout=terminal.theirs) as it:
        assert terminal.shown() == ""
        assert end_of(it).log


def test_a_problem_on_a_terminal_is_plain_text(tmp_path: Path) -> None:
    terminal = Terminal()
    given = ("run", "no.such:Plugin", "--local", __file__, "--out", "out")
    with start(*given, cwd=tmp_path, stderr=terminal.theirs) as process:
        shown = terminal.shown()
        assert end_of(process).code == 2
    last = plain(shown).strip().splitlines()[-1]
    assert last.startswith("datahub-plugin: plugin Plugin cannot be imported from no.such:Plugin: ")
