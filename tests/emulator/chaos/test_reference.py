"""The reference page says of every fault, field and preset what the code says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from plugin_framework.emulator.chaos.described import described
from plugin_framework.emulator.chaos.presets import PRESETS
from plugin_framework.emulator.chaos.target import GROUPS
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "reference" / "chaos.md"


def field_row(field: dict[str, Any]) -> str:
    default = "required" if field["required"] else shown(field["default"])
    name, expected, meaning = field["name"], field["expected"], field["meaning"]
    return f"| `{name}` | {expected} | {default} | {meaning} |"


def shown(default: object) -> str:
    if isinstance(default, float):
        return f"{default:g}"
    return "none" if default in (None, "", ()) else str(default).lower()


def lines() -> Iterator[str]:
    """What the page must hold, in this order."""
    said = described()
    yield from map(field_row, said["fields"])
    for fault in said["faults"]:
        yield f"### {fault['name']}"
        yield f"{fault['meaning']} For {calls(fault['calls'])}."
        yield from map(field_row, fault["fields"])
    for preset in PRESETS:
        yield f"| `{preset['name']}` | {preset['title']} | {preset['meaning']} |"


def calls(names: list[str]) -> str:
    """The calls, by groups where a fault is for all of one."""
    said, left = [], list(names)
    for group, members in GROUPS.items():
        if set(members) <= set(left):
            said.append(f"`{group}`")
            left = [name for name in left if name not in members]
    return ", ".join([*said, *(f"`{name}`" for name in left)])


def test_the_page_is_what_the_code_says() -> None:
    page = PAGE.read_text(encoding="utf-8").splitlines()
    missing = [line for line in lines() if line not in page]
    assert missing == []
    known = [line for line in page if line.startswith(("| `", "### "))]
    assert len(known) == len([line for line in lines() if line.startswith(("| `", "### "))])
