"""Nothing public is renamed or removed by accident."""

from __future__ import annotations

import shutil

import pytest

import plugin_framework
from plugin_framework import emulator
from tests.api.surface import PROJECT, RELEASED, Parameters, Surface, breaks, released, surface

ADVICE = f"if that is meant, run python -m tests.api.surface, commit {RELEASED.name}, tell authors"

RENAMES = [
    (
        "def upload(self, path:",
        "def upload(self, file:",
        [
            "plugin_framework.TaskContext.upload: its parameter path is gone",
            "plugin_framework.TaskContext.upload: its new parameter file must be given",
        ],
    ),
    (
        "name: str | None = None) -> UploadedFile",
        "name: str | None) -> UploadedFile",
        ["plugin_framework.TaskContext.upload: its parameter name must be given now"],
    ),
    ("def save_state(", "def keep_state(", ["plugin_framework.TaskContext.save_state is gone"]),
    ("TASK_LOCKED", "TASK_IS_LOCKED", ["errors.Code.TASK_LOCKED is gone"]),
    ("datahub_progress", "datahub_percent", ["hooks.ObserverHooks.datahub_progress is gone"]),
    (
        '    "run_local",\n    "run_task",\n]',
        '    "run_task",\n]',
        ["plugin_framework.run_local is gone"],
    ),
    (
        "process_concurrency",
        "worker_concurrency",
        [
            "plugin_framework.Settings.transfer.process_concurrency is gone",
            "setting DATAHUB_TRANSFER__PROCESS_CONCURRENCY is gone",
        ],
    ),
    (
        "poll_seconds",
        "poll_interval",
        [
            "plugin_framework.Settings.poll_seconds is gone",
            "setting DATAHUB_POLL_SECONDS is gone",
        ],
    ),
    (
        'Literal["resume", "fail"]',
        'Literal["go_on", "fail"]',
        ["setting DATAHUB_ON_INTERRUPTED resume is gone"],
    ),
    ('command("prune")', 'command("tidy")', ["datahub-plugin journal prune is gone"]),
    (
        '"--subtask-id"',
        '"--subtask"',
        ["datahub-plugin run: its parameter --subtask-id is gone"],
    ),
    ("CANCELLED: 4}", "CANCELLED: 3}", ["exit code 4 after cancelled is gone"]),
    (
        "TaskLockedError):\n        return 75",
        "TaskLockedError):\n        return 73",
        ["exit code 75 after TaskLockedError is gone"],
    ),
    ("  4    cancelled", "  3    cancelled", ["exit code 4 of datahub-plugin run is gone"]),
    ("def start_plugin(", "def begin_plugin(", ["fixture start_plugin is gone"]),
    ('"datahub_subtasks"', '"datahub_unfinished"', ["metric datahub_subtasks by state is gone"]),
    (
        'Subtasks that were run to their end, by their status.",\n            ("status",)',
        'Subtasks that were run to their end, by their status.",\n            ("ending",)',
        ["metric datahub_subtasks_ended_total by status is gone"],
    ),
    ("datahub.plugins", "datahub.workers", ["entry point group datahub.plugins is gone"]),
    ("datahub.extensions", "datahub.observers", ["entry point group datahub.extensions is gone"]),
    (".pytest11]", ".pytest12]", ["entry point group pytest11 is gone"]),
    ("telemetry = [", "figures = [", ["distribution datahub-plugin-framework[telemetry] is gone"]),
    (
        "page_of_subtasks",
        "some_subtasks",
        ["plugin_framework.emulator.Store.page_of_subtasks is gone"],
    ),
]
"""What a consistent rename replaces wherever it stands, and what is told then."""


@pytest.fixture(scope="module")
def known() -> Surface:
    return surface()


@pytest.fixture(scope="module")
def told(known: Surface, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What is told of a copy of the project in which everything is renamed."""
    folder = tmp_path_factory.mktemp("project")
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PROJECT / "plugin_framework", folder / "plugin_framework", ignore=left_out)
    shutil.copy(PROJECT / "pyproject.toml", folder)
    for path in [folder / "pyproject.toml", *folder.rglob("*.py")]:
        source = path.read_text(encoding="utf-8")
        for old, new, _ in RENAMES:
            source = source.replace(old, new)
        path.write_text(source, encoding="utf-8")
    # A probe is a context, and has all that one has.
    found = [line for line in breaks(known, surface(folder)) if ".ContextProbe" not in line]
    return [line.partition("; is it")[0] for line in found]


def test_what_was_released_is_still_there(known: Surface) -> None:
    assert breaks(released(), known) == [], ADVICE


def test_the_whole_surface_is_looked_at(known: Surface) -> None:
    assert {f"plugin_framework.{name}" for name in plugin_framework.__all__} <= known.keys()
    assert {f"plugin_framework.emulator.{name}" for name in emulator.__all__} <= known.keys()
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
        "datahub-plugin emulator --dialect cos",
        "datahub-plugin emulator bench",
        "exit code 75 with a report kept",
        "script datahub-plugin",
    } <= known.keys()
    assert known["plugin_framework.TaskContext.upload"] == [
        ["path", "positional or keyword", True],
        ["name", "positional or keyword", False],
    ]
    assert known["datahub-plugin journal show"] == [
        ["number 1", "one", True],
        ["--help", "flag", False],
        ["--html", "one", False],
        ["--json", "flag", False],
        ["-h", "flag", False],
    ]


@pytest.mark.parametrize(("old", "new", "lines"), RENAMES)
def test_a_rename_is_named(old: str, new: str, lines: list[str], told: list[str]) -> None:
    assert set(lines) <= set(told)


def test_nothing_else_is_named(told: list[str]) -> None:
    assert sorted(told) == sorted(line for _, _, lines in RENAMES for line in lines)


def test_nothing_can_be_renamed_silently() -> None:
    before = released()
    for name, parameters in before.items():
        kept = {other: given for other, given in before.items() if other != name}
        lines = breaks(before, {**kept, f"{name}_2": parameters})
        assert lines == [f"{name} is gone; is it {name}_2 now?"]
        for at, (parameter, *facts) in enumerate(parameters or ()):
            given = [*(parameters or ())]
            given[at] = [f"{parameter}_2", *facts]
            lines = breaks(before, {**kept, name: given})
            assert lines[0] == f"{name}: its parameter {parameter} is gone"


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
