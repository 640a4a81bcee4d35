"""The picture of a measurement."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_framework.emulator.bench.ledger import Task
from plugin_framework.emulator.bench.plot import HEIGHT, WIDTH, nice, picture, steps
from tests.emulator.bench.made import BEGAN, figures, refused, slots, task

SVG = "{http://www.w3.org/2000/svg}"
TITLE = '<script>alert(1)</script> & "words": 9 tasks'


def _drawn(tasks: list[Task]) -> ET.Element:
    return ET.fromstring(picture(figures(tasks), TITLE))


def test_it_shows_both_panels_and_runs_nothing() -> None:
    drawn = _drawn(slots(50, rate=10, places=2, run=1))
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert {"Tasks in flight", "Share of tasks that took no longer than", TITLE} <= set(texts)
    assert len([path for path in drawn.iter() if "curve" in path.get("class", "")]) == 2 * 4
    assert {element.tag for element in drawn.iter()} == {
        SVG + name for name in ("svg", "title", "desc", "style", "text", "path", "rect")
    }
    assert drawn.findtext(f"{SVG}desc", "").startswith("Slots")
    assert "prefers-color-scheme:dark" in drawn.findtext(f"{SVG}style", "")


@pytest.mark.parametrize(
    "tasks",
    [
        [Task("never offered", BEGAN)],
        [refused(0)],
        [task(0, wait=0, run=0)],
        [Task("waits", BEGAN, BEGAN + 0.1, "accepted")],
        slots(3000, rate=1000, places=50, run=0.5),
    ],
    ids=["nothing", "refused", "at once", "waiting", "many"],
)
def test_every_point_is_within_the_picture(tasks: list[Task]) -> None:
    text = picture(figures(tasks), "measured")
    assert "nan" not in text
    assert "inf" not in text
    for path in ET.fromstring(text).iter(f"{SVG}path"):
        points = path.get("d", "").lstrip("M").split("L")
        for point in points if "L" in path.get("d", "") else ():
            x, y = map(float, point.split())
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT


def test_many_points_are_thinned_out() -> None:
    assert len(picture(figures(slots(20_000, rate=1000, places=50, run=1)), "many")) < 150_000


@given(st.integers(0, 10**7))
def test_a_scale_ends_close_above_and_has_whole_quarters(value: int) -> None:
    top = nice(value)
    assert max(value, 1) <= top <= max(4, 2.1 * value)
    assert top / 4 == int(top / 4)


@given(st.floats(1e-3, 1e6))
def test_moments_are_few_and_within_the_span(span: float) -> None:
    found = list(steps(span))
    assert 4 <= len(found) <= 9
    assert found[0] == 0
    assert found[-1] <= span * 1.001
