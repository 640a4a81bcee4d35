"""pytest loads the kit in every project that has the framework: it must cost nothing there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import plugin_framework.testing as kit

SHOWN = """
import sys

HEAVY = {"httpx", "pycurl", "apscheduler", "pydantic", "uvicorn", "starlette", "sqlite3"}


def test_nothing_is_loaded(pytestconfig):
    assert pytestconfig.pluginmanager.has_plugin("datahub")
    assert not HEAVY & sys.modules.keys()
    loaded = {name for name in sys.modules if name.startswith("plugin_framework")}
    assert loaded == {
        "plugin_framework",
        "plugin_framework._version",
        "plugin_framework.testing",
        "plugin_framework.testing.pytest_plugin",
    }
"""
USED = """
import pytest
from plugin_framework import DatahubPlugin

class Mine(DatahubPlugin):
    def process(self, ctx):
        ctx.checkpoint("here")

@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_fixtures(run_plugin, start_plugin, make_context, clock, datahub, isolation):
    assert run_plugin(Mine, isolation=isolation).status == 3
    run = start_plugin(Mine, isolation=isolation, pause_at="here")
    assert repr(run) == "<TaskRun paused>"
    Mine().process(make_context())
"""

OWN_NAMES = """
import pytest
from plugin_framework import DatahubPlugin

class Mine(DatahubPlugin):
    def process(self, ctx):
        pass

@pytest.fixture(autouse=True)
def clock():
    return object()

class TestOwn:
    @pytest.fixture
    def datahub(self):
        return "a name"

    def test_refused(self, datahub, request):
        with pytest.raises(TypeError, match="another fixture is called datahub.*gives str"):
            request.getfixturevalue("start_plugin")

def test_a_clock_that_is_another(run_plugin):
    assert run_plugin(Mine).status == 3
"""


def pytest_in(folder: Path, text: str) -> None:
    (folder / "test_it.py").write_text(text)
    arguments = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio"]
    blocked = ["-p", "no:schemathesis", "-W", "error", "-q"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, *blocked, "test_it.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_it_loads_nothing_until_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("")
    pytest_in(tmp_path, SHOWN)


def test_a_project_of_its_own(tmp_path: Path) -> None:
    pytest_in(tmp_path, USED)


def test_fixtures_of_a_project_that_have_the_same_names(tmp_path: Path) -> None:
    pytest_in(tmp_path, OWN_NAMES)


def test_all_that_is_named_is_there() -> None:
    assert kit.__all__ == sorted(kit.__all__)
    for name in kit.__all__:
        assert getattr(kit, name).__name__ == name
    assert dir(kit) == kit.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kit.nothing  # noqa: B018 - it is looked up
