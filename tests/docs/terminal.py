"""A shell in a folder of its own, typed into as the pages say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

_END = "\x1e"


class Terminal:
    """One bash for a whole page, so that variables, folders and background jobs last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.site = folder / ".site"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DATAHUB_", "PYTEST_"))}
        self.environment = {
            **kept,
            "HOME": str(folder),
            "PATH": path,
            "PYTHONPATH": str(self.site),
            "DATAHUB_STATE_DIR": str(folder / ".state"),
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        self._bash = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.communicate()
        for log in self._folder.glob("*.log") if error else ():
            sys.stdout.write(f"{log.name}:\n{log.read_text()}\n")

    def type(self, command: str) -> tuple[str, int]:
        """Run a command to its end; returns what it printed and its exit code."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{command}\n_rc=$?; printf '{_END}%s\\n' $_rc; (exit $_rc)\n")
        self._bash.stdin.flush()
        printed = []
        for line in self._bash.stdout:
            before, end, code = line.partition(_END)
            printed.append(before)
            if end:
                return "".join(printed), int(code)
        raise AssertionError(f"the shell ended at: {command}")


def matches(printed: str, expected: str) -> bool:
    """Whether it was printed so; ``...`` stands for anything, over lines too."""
    pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
