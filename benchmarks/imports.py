"""What importing the package costs, beside what it stands on."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
CANDIDATES = {
    "nothing": "pass",
    "pydantic and pluggy": "import pydantic, pluggy",
    "plugin_framework": "import plugin_framework",
    "the author's surface": "from plugin_framework import DatahubPlugin, Field, PluginConfig",
    "pydantic's and pluggy's": "from pydantic import BaseModel, Field; import pluggy",
}


def main() -> None:
    """Print a table of medians over interleaved rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(ROUNDS):
        for name, code in CANDIDATES.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds[name].append(time.perf_counter() - began)
    idle = statistics.median(seconds["nothing"])
    cost = {name: statistics.median(taken) - idle for name, taken in seconds.items()}
    base = cost["pydantic and pluggy"]
    print(f"{'import':<26}{'ms':>8}{'ratio':>8}")
    for name in list(CANDIDATES)[1:]:
        print(f"{name:<26}{cost[name] * 1000:>8.1f}{cost[name] / base:>8.2f}")


if __name__ == "__main__":
    main()
