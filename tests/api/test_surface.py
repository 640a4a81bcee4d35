"""Nothing public is renamed or removed by accident."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import plugin_framework
from tests.api.surface import PROJECT, RELEASED, Parameters, breaks, released, surface

KNOWN = surface()
ADVICE = f"if that is meant, run python -m tests.api.surface, commit {RELEASED.name}, tell authors"


def test_what_was_released_is_still_there() -> None:
    assert breaks(released(), KNOWN) == [], ADVICE


def test_the_whole_surface_is_looked_at() -> None:
    assert {f"plugin_framework.{name}" for name in plugin_framework.__all__} <= KNOWN.keys()
    assert {
        "plugin_framework.DatahubPlugin.on_payment",
        "plugin_framework.TaskContext.attempt",
        "plugin_framework.TaskContext.upload",
        "plugin_framework.TaskOutcome.exit_code",
        "plugin_framework.TaskStatus.PAUSED",
        "plugin_framework.testing.run_plugin",
        "hooks.ObserverHooks.datahub_progress",
        "errors.Code.SETTING_MISSING",
        "errors.StorageError",
    } <= KNOWN.keys()
    assert KNOWN["plugin_framework.TaskContext.upload"] == [
        ["path", "positional or keyword", True],
        ["name", "positional or keyword", False],
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        (
            "plugin/context.py",
            "def upload(self, path:",
            "def upload(self, file:",
            [
                "plugin_framework.TaskContext.upload: its parameter path is gone",
                "plugin_framework.TaskContext.upload: its new parameter file must be given",
            ],
        ),
        (
            "plugin/context.py",
            "def save_state(",
            "def keep_state(",
            ["plugin_framework.TaskContext.save_state is gone"],
        ),
        (
            "plugin/context.py",
            "name: str | None = None) -> UploadedFile",
            "name: str | None) -> UploadedFile",
            ["plugin_framework.TaskContext.upload: its parameter name must be given now"],
        ),
        (
            "errors.py",
            "TASK_LOCKED = (",
            "TASK_IS_LOCKED = (",
            ["errors.Code.TASK_LOCKED is gone"],
        ),
        (
            "plugin/hookspecs.py",
            "def datahub_progress(",
            "def datahub_percent(",
            ["hooks.ObserverHooks.datahub_progress is gone"],
        ),
        (
            "__init__.py",
            '    "run_local",\n    "run_task",\n]',
            '    "run_task",\n]',
            ["plugin_framework.run_local is gone"],
        ),
    ],
)
def test_a_change_is_named(file: str, old: str, new: str, told: list[str], tmp_path: Path) -> None:
    copied = tmp_path / "plugin_framework"
    shutil.copytree(PROJECT / "plugin_framework", copied, ignore=shutil.ignore_patterns("*.pyc"))
    source = (copied / file).read_text(encoding="utf-8")
    assert old in source
    (copied / file).write_text(source.replace(old, new), encoding="utf-8")
    found = breaks(KNOWN, surface(tmp_path))
    # A probe is a context, and has all that one has.
    own = [line for line in found if not line.startswith("plugin_framework.testing.ContextProbe")]
    assert [line.partition("; is it")[0] for line in own] == told


FIRST: list[str | bool] = ["a", "positional or keyword", True]
SECOND: list[str | bool] = ["b", "positional or keyword", True]
OPTION: list[str | bool] = ["b", "keyword-only", False]
MORE: list[str | bool] = ["more", "variadic keyword", True]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ([FIRST], [FIRST, OPTION, MORE], []),
        ([FIRST, SECOND], [SECOND, FIRST], ["f: its parameters stand in another order"]),
        (
            [FIRST, SECOND],
            [FIRST, OPTION],
            ["f: its parameter b was positional or keyword, and is keyword-only"],
        ),
        ([FIRST], None, ["f: is no function any more"]),
    ],
)
def test_additions_break_nothing_but_order_and_kind_count(
    before: Parameters, after: Parameters, told: list[str]
) -> None:
    assert breaks({"f": before}, {"f": after, "g": None}) == told


def test_what_has_taken_the_place_of_a_name_is_told() -> None:
    assert breaks({"Code.TASK_LOCKED": None}, {"Code.TASK_LOCK": None}) == [
        "Code.TASK_LOCKED is gone; is it Code.TASK_LOCK now?"
    ]
