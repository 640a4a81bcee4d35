"""How late heartbeats are while a plugin holds the interpreter's lock in C."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from itertools import pairwise

from tests.strict_datahub import StrictDatahub

SECONDS = int(os.environ.get("SECONDS", "60"))


def main() -> None:
    """Print the gaps between heartbeats at an interval of one second."""
    with StrictDatahub("benchmark") as hub, tempfile.TemporaryDirectory() as state:
        environment = {
            **os.environ,
            "DATAHUB_BASE_URL": hub.url,
            "DATAHUB_STATE_DIR": state,
            "DATAHUB_HEARTBEAT_SECONDS": "1",
        }
        command = [sys.executable, "-m", "plugin_framework", "run", "benchmarks.plugins:HoldGil"]
        subprocess.run(
            [*command, "--subtask-id", "benchmark", "--set", f"seconds={SECONDS}"],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        times = [beat[0] for beat in hub.heartbeats]
        gaps = [after - before for before, after in pairwise(times)]
        print(f"lock held for {SECONDS} s: {len(times)} heartbeats at an interval of 1 s,")
        print(f"longest gap {max(gaps):.3f} s, violations of the protocol: {len(hub.violations)}")


if __name__ == "__main__":
    main()
