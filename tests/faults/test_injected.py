"""The supervisor is killed at each step of the path by which it finishes a subtask."""

from __future__ import annotations

from benchmarks.injected import Findings, Starter, every_step


def test_a_kill_at_any_step_of_finishing_loses_and_doubles_nothing() -> None:
    found = Findings()
    with Starter() as start:
        every_step(start, found)
    assert found.wrong == []
    # Before, during and after the journalling of the result, its sending, and the tidying up.
    assert found.kills.keys() >= {"sql BEGIN", "sql INSERT", "sql COMMIT", "send", "recv"}
    assert found.kills["rmdir"] + found.kills["unlink"] >= 1
    assert found.resumed >= 10
    assert found.delivered >= 5
