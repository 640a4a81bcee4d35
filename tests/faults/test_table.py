"""The table of faults names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = TESTS.parent / "docs" / "explanation" / "faults.md"
FAULTS = [
    *range(1, 16),
    *range(20, 39),
    *range(40, 51),
    *range(60, 65),
    *range(100, 116),
    *range(80, 95),
]


def rows() -> dict[int, list[str]]:
    """The tests of each fault, by its number."""
    lines = re.findall(r"^\| (\d+) \|(.*)$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    return {int(number): re.findall(r"`(\S+\.py::\w+)`", rest) for number, rest in lines}


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_a_test() -> None:
    assert list(rows()) == FAULTS
    assert [number for number, tests in rows().items() if not tests] == []


def test_every_test_of_the_table_is_there() -> None:
    named = {test for tests in rows().values() for test in tests}
    missing = []
    for test in sorted(named):
        path, name = test.split("::")
        if not (TESTS / path).exists() or name not in functions(TESTS / path):
            missing.append(test)
    assert missing == []
