"""Links between pages lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, anchors, links

IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


def test_every_page_can_be_reached_from_the_index() -> None:
    """By a link of the index itself, but for the pages of single errors."""
    index = ROOT / "docs" / "index.md"
    errors = ROOT / "docs" / "reference" / "errors.md"
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in (index, errors)
        for link in links(page)
    }
    assert {page for page in PAGES if page.is_relative_to(index.parent)} - linked == {index}


def test_the_readme_links_to_the_index() -> None:
    assert "docs/index.md" in set(links(ROOT / "README.md"))
