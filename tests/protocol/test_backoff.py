from __future__ import annotations

import pytest

from plugin_framework.errors import RejectedError, RetryableError
from plugin_framework.protocol.backoff import Backoff


def delays(backoff: Backoff, error: RetryableError, count: int) -> list[float]:
    waits = [backoff(error) for _ in range(count)]
    assert not any(isinstance(wait, bool) for wait in waits)
    return [float(wait) for wait in waits]


def test_delays_are_full_jitter_until_they_reach_30_seconds() -> None:
    runs = [delays(Backoff(1e6), RetryableError("down"), 10) for _ in range(200)]
    for number, waits in enumerate(zip(*runs, strict=True)):
        longest = min(30.0, 0.5 * 2**number)
        shortest = 15 if longest == 30 else 0
        assert shortest <= min(waits) < shortest + (longest - shortest) / 4
        assert longest - (longest - shortest) / 4 < max(waits) <= longest


def test_a_very_long_outage_overflows_nothing() -> None:
    waits = delays(Backoff(1e9), RetryableError("down"), 3000)
    assert max(waits) <= 30


def test_ten_minutes_take_fewer_than_sixty_calls() -> None:
    assert all(sum(delays(Backoff(1e6), RetryableError("down"), 47)) >= 600 for _ in range(200))


@pytest.mark.parametrize("asked", [0.0, 100.0, 300.0])
def test_what_the_server_asks_is_the_least_we_wait(asked: float) -> None:
    assert min(delays(Backoff(1e6), RetryableError("busy", retry_after=asked), 20)) >= asked


def test_all_who_are_told_the_same_moment_come_back_one_after_the_other() -> None:
    error = RetryableError("busy", retry_after=100)
    waits = [delays(Backoff(1e6), error, 1)[0] for _ in range(300)]
    assert min(waits) < 104
    assert max(waits) > 126


def test_a_wait_never_outlasts_patience() -> None:
    backoff = Backoff(2)
    assert all(wait <= 2 for wait in delays(backoff, RetryableError("down"), 50))
    assert backoff(RetryableError("busy", retry_after=3)) is False


def test_without_patience_there_is_no_second_attempt() -> None:
    assert Backoff(0)(RetryableError("down")) is False


@pytest.mark.parametrize("error", [RejectedError("no", 1), ValueError()])
def test_only_what_can_change_is_retried(error: Exception) -> None:
    assert Backoff(60)(error) is False
