"""Progress: one number, whole, from 0 to 100, that never falls."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_framework.lifecycle.progress import HighestPercent, Progress

SHARES = st.floats(0, 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("downloaded"), SHARES),
        st.tuples(st.just("worked"), st.floats(allow_infinity=True)),
        st.tuples(st.just("uploaded"), SHARES),
    ),
    max_size=30,
)


@given(STEPS)
def test_it_never_falls_and_never_leaves_its_range(steps: list[tuple[str, float]]) -> None:
    progress = Progress()
    before = 0
    for phase, value in steps:
        told = getattr(progress, phase)(value)
        assert told == progress.percent
        assert isinstance(told, int)
        assert before <= told <= 100
        before = told


def test_the_phases_share_it() -> None:
    progress = Progress()
    assert progress.downloaded(1.0) == 10
    assert progress.worked(50) == 55
    assert progress.worked(20) == 55
    assert progress.uploaded(0.5) == 77
    assert progress.uploaded(1.0) == 100


def test_work_without_a_download_has_it_all() -> None:
    progress = Progress()
    assert progress.worked(50) == 50
    assert progress.downloaded(0.1) == 50
    assert progress.worked(math.nan) == 50


@pytest.mark.parametrize(
    ("content", "expected"), [("30", 30), ("500", 100), ("-1", 5), ("x", 5), (None, 5)]
)
def test_the_next_attempt_goes_on_from_the_highest(
    tmp_path: Path, content: str | None, expected: int
) -> None:
    file = tmp_path / "percent"
    if content is not None:
        file.write_text(content)
    highest = HighestPercent(file)
    assert highest.raise_to(5) == expected
    assert highest.raise_to(100) == 100
    assert HighestPercent(file).raise_to(0) == 100
    highest.forget()
    assert HighestPercent(file).raise_to(0) == 0


def test_a_kill_while_it_is_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    file = tmp_path / "percent"
    HighestPercent(file).raise_to(59)
    monkeypatch.setattr("os.write", killed)
    with pytest.raises(KeyboardInterrupt):
        HighestPercent(file).raise_to(60)
    assert HighestPercent(file).raise_to(0) == 59
