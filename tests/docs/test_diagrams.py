"""The drawings are what their sources say, and can be read without being seen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from plugin_framework.lifecycle.states import TRANSITIONS
from tests.docs.generator import load
from tests.docs.markdown import PAGES, ROOT

IMAGES = ROOT / "docs" / "images"
SVG = "{http://www.w3.org/2000/svg}"
# A plot has its own test.
PLOTS = {"bench.svg", "scaling-outage.svg", "scaling-retry-after.svg", "scaling-start.svg"}
DRAWN = [path for path in sorted(IMAGES.glob("*.svg")) if path.name not in PLOTS]
FLOWS = {"run", "pause", "cancel", "failure", "crash", "outage", "serve"}


@pytest.fixture(scope="module")
def drawing() -> Any:
    return load("sequence_diagram.py")


def test_the_drawings_are_current() -> None:
    made = load("generate.py")["drawings"]()
    assert {name: (IMAGES / name).read_text(encoding="utf-8") for name in made} == made, (
        "run make docs"
    )
    assert {f"flow-{name}.svg" for name in FLOWS} <= set(made)


def test_the_states_and_their_transitions_are_those_of_the_code() -> None:
    drawn = ET.parse(IMAGES / "states.svg").iter(f"{SVG}path")
    shown = {path.get("data-transition") for path in drawn} - {None}
    assert shown == {f"{old:d} {new:d}" for old, news in TRANSITIONS.items() for new in news}


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.name)
def test_a_drawing_says_what_it_shows_and_loads_nothing(path: Path) -> None:
    root = ET.parse(path).getroot()
    assert root.get("role") == "img"
    named = {element.get("id"): element.text for element in root}
    assert all(named.get(one) for one in (root.get("aria-labelledby") or "").split())
    assert named["title"]
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|<script|<image|@import|href=", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_says_in_words_what_its_images_show(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "```mermaid" not in text, "the site would load what draws it from another host"
    for words, file in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text):
        assert len(words.split()) >= 4, file


def test_a_drawing_tells_its_steps_in_order(drawing: dict[str, Any]) -> None:
    text = "title: T\nA as Alice\nB as Bob\nloop: twice\nA -> B: <hi>\nend\nB --> A: yes\nB: sleeps"
    root = ET.fromstring(drawing["svg"](text))
    described = root.findtext(f"{SVG}desc")
    assert described == (
        "Loop, twice: Alice to Bob: <hi>. End of the loop. Bob to Alice: yes. Bob: sleeps."
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("title: T\nA as Alice\nA -> C: x", "nobody is called 'C'"),
        ("title: T\nA as Alice\nend", "not understood: 'end'"),
        ("title: T\nA as Alice\nA => A: x", "not understood"),
        ("title: T\nA as Alice\nloop: x\nA: x", "an end for each loop"),
        ("A as Alice\nA: x", "has a title"),
    ],
)
def test_what_is_no_diagram_is_refused(drawing: dict[str, Any], text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        drawing["svg"](text)
