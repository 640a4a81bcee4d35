"""What ``dev`` is made of, each part by itself."""

from __future__ import annotations

import json
import queue
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from plugin_framework.cli.dev.__main__ import settings_of
from plugin_framework.cli.dev.lines import Keeper, record_of
from plugin_framework.cli.dev.service import Orders
from plugin_framework.cli.dev.sources import Sources, Watch
from plugin_framework.cli.state import alone, kept_ports
from plugin_framework.emulator import Store
from tests.cli.calling import DEADLINE


def folders(tmp_path: Path, *modules: str) -> set[str]:
    found = Sources(modules, spared=tmp_path / "spared").folders()
    return {str(folder.relative_to(tmp_path)) for folder in found}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in the current folder."""
    for name in (
        "package/inner",
        "package/__pycache__",
        ".git",
        "not-a-package",
        "venv/lib",
        "spared",
        "node_modules/package",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / "of_a_test.py").touch()
    (tmp_path / "package" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    return tmp_path


OWN = {".", "package", "package/inner"}


@pytest.mark.parametrize("module", ["of_a_test", "package.inner.of_a_test", "not_there_yet"])
def test_what_is_beside_a_module_counts_as_its_code(module: str, here: Path) -> None:
    assert folders(here, module) == OWN


def test_of_an_installed_package_only_its_own_folders_count(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = here / ".venv" / "site-packages"
    for name in ("installed/inner", "another"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").touch()
    (site / "alone.py").touch()
    monkeypatch.syspath_prepend(str(site))
    own = {f".venv/site-packages/installed{inner}" for inner in ("", "/inner")}
    assert folders(here, "installed.inner") == {".", *own}
    assert folders(here, "alone") == {".", ".venv/site-packages"}


def test_changes_are_told_in_folders_that_come_later_too(here: Path) -> None:
    told: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
    sources = Sources(["of_a_test"], spared=here / "spared")
    with Watch(sources, told.put):
        _until_told(told, here / "of_a_test.py")
        (here / "later").mkdir()
        _until_told(told, here / "later" / "module.py")
        (here / "spared" / "module.py").touch()
        (here / "notes.txt").touch()
        _until_told(told, here / ".env")


def _until_told(told: queue.SimpleQueue[list[str]], file: Path) -> None:
    """Write a file until that is told, and nothing else: a watch may not have begun yet."""
    number = 0
    found: list[str] = []
    while found != [file.name]:
        assert not found or number > 0
        number += 1
        file.write_text(str(number), encoding="utf-8")
        try:
            found = told.get(timeout=0.5)
        except queue.Empty:
            assert number < DEADLINE * 2


def test_ports_are_those_of_last_time_if_they_are_free(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    with kept_ports(file, [None, None]) as first:
        assert len({*first}) == 2
        with socket.create_server(("127.0.0.1", first[0])):  # who knows it may listen
            pass
    with kept_ports(file, [None, None]) as again:
        assert again == first
    with socket.create_server(("127.0.0.1", first[0])), kept_ports(file, [None, None]) as other:
        assert other[0] != first[0]
        assert other[1] == first[1]


@pytest.mark.parametrize("kept", ["[70000, -1]", '["a", null]', "[1e999, 2]", "[1]", "{}", "["])
def test_ports_that_are_none_are_replaced(kept: str, tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    file.write_text(kept)
    with kept_ports(file, [None, None]) as new:
        assert all(0 < port < 65536 for port in new)


def test_a_line_of_the_service_is_what_it_logged() -> None:
    line = {
        "time": "2026-11-22T10:00:00.250+00:00",
        "level": "warning",
        "logger": "datahub.runner",
        "message": "subtask s: slow",
        "subtask_id": "s",
        "traceback": "Traceback",
        "ms": 3,
    }
    record = record_of(json.dumps(line))
    assert (record.levelname, record.name, record.getMessage()) == (
        "WARNING",
        "datahub.runner",
        "subtask s: slow",
    )
    assert record.created == 1795341600.25
    assert vars(record)["facts"] == {"ms": 3}
    assert record.exc_text == "Traceback"


@pytest.mark.parametrize(
    "line", ["Killed\n", "[1]\n", '{"no": "message"}\n', '{"message": 1, "time": "1"}']
)
def test_what_is_no_line_is_shown_all_the_same(line: str) -> None:
    assert record_of(line).getMessage() in {line.strip(), "1"}


def test_lines_are_kept_with_their_tasks_and_say_why_one_failed(tmp_path: Path) -> None:
    lines = [
        {"logger": "datahub.plugin.p", "message": "subtask s failed: not the reason"},
        {"logger": "datahub.runner", "message": "subtask s failed: the reason: all of it"},
        {"logger": "datahub.plugin.p", "message": "more", "traceback": "Traceback"},
    ]
    with ExitStack() as made:
        store = Store(tmp_path)
        made.callback(store.close)
        store.create_subtask("s")
        with Keeper(store) as keeper:
            for line in lines:
                keeper.take(record_of(json.dumps(line | {"subtask_id": "s", "level": "error"})))
            keeper.take(record_of(json.dumps(lines[0] | {"subtask_id": "of another Datahub"})))
            keeper.take(record_of("about no task"))
        assert store.subtask("s").reason == "the reason: all of it"
        kept = [line.message for line in store.logs("s")]
    assert kept == [lines[0]["message"], lines[1]["message"], "more\nTraceback"]


def test_a_line_that_is_no_unicode_is_kept_as_it_is_shown_and_so_are_those_after_it(
    tmp_path: Path,
) -> None:
    """A file's name may be any bytes, and a plugin may log it."""
    odd, plain = "caf\udce9.csv", "the next line"
    with closing(Store(tmp_path)) as store:
        store.create_subtask("s")
        with Keeper(store) as keeper:
            for message in (odd, plain):
                line = {"logger": odd, "message": message}
                for subtask_id in (odd, "s"):
                    keeper.take(record_of(json.dumps(line | {"subtask_id": subtask_id})))
        kept = [(line.logger, line.message) for line in store.logs("s")]
    assert kept == [(r"caf\udce9.csv", r"caf\udce9.csv"), (r"caf\udce9.csv", plain)]


@pytest.mark.parametrize(("given", "expected"), [(None, 2), ("30", 30)])
def test_the_page_hears_often_how_far_a_task_is(
    given: str | None, expected: float, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given is not None:
        monkeypatch.setenv("DATAHUB_HEARTBEAT_SECONDS", given)
    orders = Orders(("one",), 1, "http://127.0.0.1:1", "key", "secret", str(here), 1)
    assert settings_of(orders).heartbeat_seconds == expected


HEARS = """
import threading
for _ in range(4):  # any thread may receive a signal
    threading.Thread(target=threading.Event().wait, daemon=True).start()
from plugin_framework.cli.dev.session import Happenings
happenings = Happenings()
print("ready", flush=True)
while True:
    print(happenings.next(None).number, flush=True)
"""


def test_of_signals_that_come_close_together_none_goes_unheard() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HEARS], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            for _ in range(50):
                process.send_signal(signal.SIGINT)
                process.send_signal(signal.SIGTERM)
                heard = {int(process.stdout.readline()) for _ in range(2)}
                assert heard == {signal.SIGINT, signal.SIGTERM}
        finally:
            process.kill()


def test_folders_that_are_made_are_open_to_nobody_else(tmp_path: Path) -> None:
    with alone(tmp_path / "state" / "dev", "--state", "another"):
        modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("state", "state/dev")]
    assert modes == [0o700, 0o700]
