"""How much is measured: what the environment says, or a run that means something."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.transfer.job import MIB

_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Sizes:
    """``folder``: where files are; on a tmpfs, so that no disk is measured."""

    size: int
    large: int
    rounds: int
    concurrencies: tuple[int, ...]
    small_files: int
    folder: Path


def sizes_of_environment() -> Sizes:
    """BENCH_QUICK=1 for a short run; BENCH_MIB, ROUNDS and BENCH_DIR change one thing."""
    quick = bool(os.environ.get("BENCH_QUICK"))
    memory = _MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())
    return Sizes(
        size=int(os.environ.get("BENCH_MIB", "256" if quick else "1024")) * MIB,
        large=(2 if quick else 20) * 1024 * MIB,
        rounds=int(os.environ.get("ROUNDS", "2" if quick else "5")),
        concurrencies=(4,) if quick else (1, 4, 8),
        small_files=200 if quick else 1000,
        folder=Path(os.environ.get("BENCH_DIR", memory)),
    )
