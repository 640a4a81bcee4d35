"""The picture of a timeline: gaps are gaps, and an outage is no delivery."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plugin_framework.cli.timeline_page import page
from plugin_framework.journal.records import Record
from plugin_framework.journal.timeline import Event

BEGAN = 1_700_000_000.0
RECORD = Record("s-1", "t-1", "p", BEGAN, 2, 3, 0, "delivered", BEGAN + 9, 0, None)
GROUP = re.compile(
    r'<g><title>(?P<tip>[^<]*)</title><rect class="(?P<look>[^"]*)" x="(?P<x>[^"]*)"'
    r' y="(?P<y>[^"]*)" width="(?P<width>[^"]*)"[^>]*/>(?:<text[^>]*>(?P<label>[^<]*)</text>)?'
)


@dataclass(frozen=True)
class Bar:
    tip: str
    look: str
    left: float
    right: float
    label: str


def event(at: float, kind: str, **detail: Any) -> Event:
    return Event(BEGAN + at, kind, detail)


def report(at: float, status: int, settled: float, fate: str = "delivered") -> Iterator[Event]:
    yield event(at, "report", status=status, of="update_status")
    yield event(settled, fate, status=status, of="update_status")


PAUSED = [
    event(0, "attempt", attempt=1),
    *report(0.1, 1, 0.2),
    event(30, "heartbeats", count=3, last=BEGAN + 90),
    event(100, "signal", name="SIGTERM"),
    *report(100.5, 2, 100.6),
    event(3000, "attempt", attempt=2),
    *report(3000.1, 1, 3000.2),
    *report(3100, 3, 3700),
]
KILLED = [
    event(0, "attempt", attempt=1),
    *report(0.1, 1, 0.2),
    event(30, "heartbeats", count=3, last=BEGAN + 90),
    event(600, "interrupted"),
    event(600.1, "attempt", attempt=2),
    *report(601, 5, 601.1, "refused"),
]


def bars(events: list[Event]) -> list[Bar]:
    text = page(RECORD, sorted(events, key=lambda one: one.at))
    return [
        Bar(
            found["tip"],
            found["look"],
            float(found["x"]),
            float(found["x"]) + float(found["width"]),
            found["label"] or "",
        )
        for found in GROUP.finditer(text)
    ]


def test_nothing_runs_between_a_pause_by_signal_and_the_next_attempt() -> None:
    first, second = (bar for bar in bars(PAUSED) if bar.look == "attempt")
    paused = next(bar for bar in bars(PAUSED) if bar.look == "paused")
    assert (first.label, second.label) == ("attempt 1, SIGTERM", "attempt 2")
    assert first.right == pytest.approx(paused.left, abs=1)
    assert second.left - first.right > 50


def test_a_killed_attempt_ends_with_its_last_sign_of_life() -> None:
    first, second = (bar for bar in bars(KILLED) if bar.look == "attempt")
    beats = next(bar for bar in bars(KILLED) if bar.look == "heartbeats")
    assert first.label == "attempt 1, killed"
    assert first.right == pytest.approx(beats.right, abs=1)
    assert second.left - first.right > 50


def test_a_report_that_waits_for_datahub_is_not_shown_as_delivered() -> None:
    *_, waiting, delivered = bars(PAUSED)
    assert (waiting.look, waiting.tip) == ("waiting", "completed waited 600 s")
    assert (delivered.look, delivered.tip) == ("delivered", "completed delivered")
    assert waiting.right == pytest.approx(delivered.left, abs=0.2)
    assert delivered.right - delivered.left < waiting.right - waiting.left


def test_a_label_without_room_in_its_bar_is_beside_it() -> None:
    labels = [bar.label for bar in bars(PAUSED)]
    assert "paused delivered" in labels
    assert "completed delivered" in labels
    assert [bar.label for bar in bars(KILLED)][-1] == "failed refused"


def test_the_page_is_whole_in_a_browser_in_light_and_dark(tmp_path: Path) -> None:
    browser = pytest.importorskip("playwright.sync_api")
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("no Chromium here")
    file = tmp_path / "page.html"
    file.write_text(page(RECORD, PAUSED), encoding="utf-8")
    with browser.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        try:
            colours = {scheme: _colours(opened, file, scheme) for scheme in ("light", "dark")}
        finally:
            opened.close()
    assert colours["light"] == colours["dark"][::-1]


_MEASURE = """() => {
    const frame = document.querySelector("svg").getBoundingClientRect();
    const cut = [...document.querySelectorAll("svg text, svg rect")].filter((part) => {
        const box = part.getBoundingClientRect();
        return box.left < frame.left - 1 || box.right > frame.right + 1
            || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
    });
    const light = (name) => getComputedStyle(document.body)[name].match(/\\d+/g).map(Number)
        .reduce((sum, part) => sum + part) > 383;
    return {cut: cut.map((part) => part.textContent || part.outerHTML),
        wide: document.documentElement.scrollWidth > innerWidth,
        colours: [light("color"), light("backgroundColor")]};
}"""


def _colours(browser: Any, file: Path, scheme: str) -> list[bool]:
    """Whether ink and paper are light; nothing of the picture is cut off."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1100, "height": 800})
    shown = context.new_page()
    said: list[str] = []
    shown.on("console", lambda message: said.append(message.text))
    shown.goto(file.as_uri())
    facts = shown.evaluate(_MEASURE)
    context.close()
    assert facts["cut"] == []
    assert facts["wide"] is False
    assert said == []
    return list(facts["colours"])
