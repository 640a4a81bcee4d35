"""The supervisor's peak memory while files of growing size pass through it both ways."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 2**20
SIZES = (0, 64 * MIB, 512 * MIB, 2048 * MIB)


def main() -> None:
    """Print peak resident memory and time for each size, beside the empty file's."""
    print(f"{'file':>10}{'peak MiB':>10}{'above idle':>12}{'seconds':>9}")
    idle = 0.0
    for size in SIZES:
        peak, seconds = measure(size)
        idle = idle or peak
        print(f"{size // MIB:>6} MiB{peak:>10.1f}{peak - idle:>12.1f}{seconds:>9.1f}")


def measure(size: int) -> tuple[float, float]:
    """Peak MiB and seconds of one run on a file of ``size`` bytes, in and out again."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source.bin")
        with source.open("wb") as file:
            file.truncate(size)
        command = [sys.executable, "-m", "plugin_framework", "run", "benchmarks.plugins:Copy"]
        began = time.perf_counter()
        with subprocess.Popen(
            [*command, "--local", source, "--out", Path(folder, "out")],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            peak = watch(process)
            outcome = json.load(process.stdout) if process.stdout else {}
        if outcome["status"] != 3 or outcome["outputs"][0]["size"] != size:  # noqa: PLR2004 - completed
            raise SystemExit(f"the run failed: {outcome}")
        return peak, time.perf_counter() - began


def watch(process: subprocess.Popen[bytes]) -> float:
    """The peak resident memory of a process in MiB, read until it ends."""
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        except OSError:
            break
        for line in status.splitlines():
            if line.startswith("VmHWM"):
                peak = int(line.split()[1])
        time.sleep(0.02)
    return peak / 1024


if __name__ == "__main__":
    main()
