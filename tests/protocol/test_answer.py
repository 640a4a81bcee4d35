from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_framework.protocol.answer import MAXIMUM_RETRY_AFTER, retry_after

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        ("1.5", 1.5),
        ("301", 300),
        ("9" * 400, 300),
        ("Fri, 02 Jan 2026 03:04:35 GMT", 30),
        ("Fri, 02 Jan 2026 03:04:35 -0000", 30),
        ("Fri, 02 Jan 2026 03:04:00 GMT", 0),
        ("Fri, 02 Jan 2099 03:04:00 GMT", 300),
    ],
)
def test_retry_after_is_read_and_clamped(value: str, seconds: float) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize("value", ["", "-1", "nan", "inf", "1e3", "soon", "٣", "Fri, 99 Jan 2026"])
def test_a_silly_retry_after_is_ignored(value: str) -> None:
    assert retry_after(value, NOW) is None


@given(st.text(max_size=40))
def test_any_text_is_a_sane_wait_or_none(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= MAXIMUM_RETRY_AFTER
