"""Fixtures for the tests of plugins. What they need is imported when a test first uses one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from plugin_framework.testing.clock import Clock
    from plugin_framework.testing.datahub import LocalDatahub
    from plugin_framework.testing.probe import ContextProbe
    from plugin_framework.testing.task_run import TaskRun
    from plugin_framework.testing.web import Web


@pytest.fixture(scope="session")
def _datahub_web() -> Iterator[Web]:
    from plugin_framework.testing.web import Web  # noqa: PLC0415 - see above

    web = Web()
    yield web
    web.close()


@pytest.fixture
def clock() -> Clock:
    """The clock that the runs of this test go by; it stands still until it is moved on."""
    from plugin_framework.testing.clock import Clock  # noqa: PLC0415 - see above

    return Clock()


@pytest.fixture
def datahub(_datahub_web: Web, request: pytest.FixtureRequest) -> Iterator[LocalDatahub]:
    """A Datahub of the test's own, with storage."""
    from plugin_framework.testing.clock import Clock  # noqa: PLC0415 - see above
    from plugin_framework.testing.datahub import LocalDatahub  # noqa: PLC0415 - see above

    found = request.getfixturevalue("clock") if "clock" in request.fixturenames else None
    # A project may have a fixture of that name that is about something else.
    clock = found if isinstance(found, Clock) else None
    with LocalDatahub(_datahub_web, clock=clock) as datahub:
        yield datahub


@pytest.fixture
def run_plugin(datahub: LocalDatahub) -> Callable[..., TaskRun]:
    """Runs a plugin to its end: ``run_plugin(MyPlugin, input=..., config=...)``."""
    return _ours(datahub).run


@pytest.fixture
def start_plugin(datahub: LocalDatahub) -> Callable[..., TaskRun]:
    """Starts a plugin, and returns the run while it runs."""
    return _ours(datahub).start


def _ours(datahub: LocalDatahub) -> LocalDatahub:
    """The fixture ``datahub``, if it is not another one of that name."""
    from plugin_framework.testing.datahub import LocalDatahub  # noqa: PLC0415 - see above

    if not isinstance(datahub, LocalDatahub):
        raise TypeError(
            "another fixture is called datahub, which hides that of the test kit: it gives"
            f" {type(datahub).__name__}, not a LocalDatahub; give it another name"
        )
    return datahub


@pytest.fixture
def make_context(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ContextProbe]:
    """Makes a context for the test of a single hook."""
    from plugin_framework.testing.probe import make_context  # noqa: PLC0415 - see above

    return partial(make_context, work_dir=tmp_path_factory.mktemp("context"))
