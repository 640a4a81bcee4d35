"""Many waiting subtasks in one supervisor: what heartbeats and polls cost, and how late they are.

``SUBTASKS`` (1,000) wait in threads for ``SECONDS`` (95) at the default intervals. Processor time
and memory are the supervisor's alone: Datahub is another process.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.plugins import Wait
from plugin_framework.emulator import Emulator
from plugin_framework.engines.local import LocalEngine
from plugin_framework.settings import load_settings

KEY, SECRET = "scale", "scale-secret"
SUBTASKS = int(os.environ.get("SUBTASKS", "1000"))
SECONDS = float(os.environ.get("SECONDS", "95"))
BEAT = 30.0
SETTLE = 10.0


def main() -> None:
    """Print cost, memory and lateness."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with Emulator(state_dir=place / "datahub", key=KEY, secret=SECRET) as emulator:
            names = [f"waiting-{n}" for n in range(SUBTASKS)]
            for name in names:
                emulator.store.create_subtask(name)
            job = {"url": emulator.url, "state": str(place / "state"), "names": names}
            command = [sys.executable, "-m", "benchmarks.scale", json.dumps(job)]
            print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            beats = defaultdict(list)
            for name in names:
                for event in emulator.store.events(name):
                    if event.kind == "heartbeat":
                        beats[name].append(event.at)
    late = sorted(b - a - BEAT for times in beats.values() for a, b in pairwise(times))
    print(f"{len(late)} intervals: p50 {late[len(late) // 2]:.3f} s late", end=", ")
    print(f"p99 {late[len(late) * 99 // 100]:.3f} s, worst {late[-1]:.3f} s")


def supervise(job: dict[str, Any]) -> None:
    """Be the supervisor: start all, let them wait, measure, end."""
    settings = load_settings(
        base_url=job["url"],
        api_key=KEY,
        api_secret=SECRET,
        state_dir=job["state"],
        isolation="thread",
        log_level="WARNING",
    )
    names = job["names"]
    with (
        LocalEngine(Wait, settings) as engine,
        ThreadPoolExecutor(len(names)) as pool,
    ):
        idle = resident()
        began = time.monotonic()
        running = [pool.submit(engine.run(name).execute) for name in names]
        while Wait.waiting < len(names):
            time.sleep(0.05)
        print(f"{len(names)} started in {time.monotonic() - began:.1f} s")
        time.sleep(SETTLE)
        before, at = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        time.sleep(SECONDS - SETTLE)
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"heartbeats and polls: {100 * used / (time.monotonic() - at):.1f}% of a core")
        print(f"{(resident() - idle) / len(names):.0f} KiB for a waiting subtask", end=", ")
        print(f"{threading.active_count() / len(names):.1f} threads")
        Wait.over.set()
        for run in running:
            run.result()


def resident() -> int:
    """This process's resident memory in KiB."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize() // 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        supervise(json.loads(sys.argv[1]))
    else:
        main()
