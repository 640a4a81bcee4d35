"""Memory of the supervisor while a file passes through it, in and out."""

from __future__ import annotations

from benchmarks.memory import MIB, measure


def test_memory_does_not_grow_with_the_file() -> None:
    idle, _ = measure(0)
    small, _ = measure(64 * MIB)
    large, _ = measure(384 * MIB)
    assert large - idle <= 96
    assert large - small <= 16
