"""The supervisor is killed at random points, under many subtasks at once."""

from __future__ import annotations

import os
import time

import pytest

from benchmarks import crashes


@pytest.mark.timeout(600)
def test_kills_at_random_points_lose_nothing() -> None:
    """Where the kills fell is counted, so that no phase goes untried; `SEED` repeats a run."""
    seed = int(os.environ.get("SEED", time.time_ns() % 10**6))
    found = crashes.main(subtasks=60, batch=10, kills=2, seed=seed)
    assert found.wrong == []
    assert found.subtasks == 60
    before_the_end = sum(
        found.hit[where] for where in ("before their start", "begun", "at work", "while uploading")
    )
    after_it = sum(
        found.hit[where] for where in ("journalled, not sent", "sent, not known to be", "delivered")
    )
    assert before_the_end >= 20
    assert after_it >= 8
    assert found.hit["journalled, not sent"] + found.hit["sent, not known to be"] >= 1
