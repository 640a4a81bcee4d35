"""Tests with the kit: how long a hundred runs in threads take, and twenty in processes."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = {"thread": 100, "process": 20}
MODULE = '''
import pytest
from plugin_framework import DatahubPlugin, TaskResult

class Lines(DatahubPlugin):
    """Counts the lines of a text."""

    def process(self, ctx):
        lines = ctx.download().read_text().splitlines()
        for line in ctx.track(lines):
            pass
        (ctx.output_dir / "count").write_text(str(len(lines)))
        return TaskResult(total_counts=len(lines))

@pytest.mark.parametrize("number", range({tests}))
def test_lines(run_plugin, number):
    run = run_plugin(Lines, input=b"one\\ntwo\\n", isolation="{isolation}")
    assert run.outputs["count"].text() == "2"
'''


def main() -> None:
    """Print seconds."""
    for isolation, tests in TESTS.items():
        print(f"{tests} tests, isolation {isolation}: {seconds(isolation, tests):.1f} s")


def seconds(isolation: str, tests: int) -> float:
    """What pytest says that these tests took, its start included."""
    with tempfile.TemporaryDirectory() as folder:
        text = MODULE.format(isolation=isolation, tests=tests)
        (Path(folder) / "test_lines.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_lines.py"]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    took = re.search(rf"{tests} passed in ([\d.]+)s", ended.stdout)
    if took is None:
        raise SystemExit(ended.stdout + ended.stderr)
    return float(took[1])


if __name__ == "__main__":
    main()
