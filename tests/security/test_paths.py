"""FAULTS.md, row 85: a name that came from outside is never a path as it stands."""

from __future__ import annotations

import os
import socket
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_framework import DatahubPlugin, TaskContext
from plugin_framework.emulator import Emulator
from plugin_framework.emulator.storage import BUCKET, PREFIX
from plugin_framework.engines.local import LocalEngine
from plugin_framework.errors import PluginLoadError, PluginNotFoundError
from plugin_framework.lifecycle.folders import (
    lock_file_of,
    percent_file_of,
    safe_file_name,
    work_dir_of,
)
from plugin_framework.plugin.loader import find_plugin
from plugin_framework.settings import load_settings
from plugin_framework.transfer.partial import Partial

UNHURRIED = settings(deadline=None, max_examples=50)

PIECES = st.sampled_from(
    [
        *("..", ".", "/", "\\", "\0", "\n", "~", "C:", "%2e%2e", "%00", "etc", "passwd", " ", ""),
        *("\u2025", "\ud800", "\u202e", "é" * 200, "a" * 300, "-rf", ".download-", "$HOME", "*"),
    ]
)
NAMES = st.one_of(
    st.lists(PIECES, max_size=8).map("".join),
    st.lists(PIECES, max_size=8).map("/".join),
    st.text(st.characters(), max_size=400),
)
SOME = ["../../out", "/etc/out", "..", "a/../../out", "..\\..\\out", "x\n../out", "\u2025/out", "~"]


def is_one_name_in(folder: Path, path: Path) -> bool:
    """Whether it is directly in the folder, by a name that a file can have."""
    inside = path.parent == folder and path.name not in {"", ".", ".."}
    return inside and "\0" not in path.name and len(os.fsencode(path.name)) <= 255


@UNHURRIED
@given(NAMES)
def test_the_name_of_a_file(name: str) -> None:
    safe = safe_file_name(name)
    assert is_one_name_in(Path("/f"), Path("/f") / safe)
    assert not any(ord(character) < 32 or ord(character) == 127 for character in safe)


@UNHURRIED
@given(NAMES)
def test_a_file_is_made_where_it_should_be(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "names"
    folder.mkdir(exist_ok=True)
    target = folder / safe_file_name(name)
    partial = Partial(target, 1)
    try:
        target.write_bytes(b"x")
        assert {each.parent.resolve() for each in (target, partial.path)} == {folder.resolve()}
        assert target.resolve().parent == folder.resolve()
    finally:
        partial._held.close()
        for each in folder.iterdir():
            each.unlink()


@UNHURRIED
@given(NAMES)
def test_the_id_of_a_subtask(subtask_id: str) -> None:
    state = Path("/s")
    assert is_one_name_in(state / "work", work_dir_of(state, subtask_id))
    assert is_one_name_in(state / "work", percent_file_of(state, subtask_id))
    assert is_one_name_in(state / "locks", lock_file_of(state, subtask_id))


@UNHURRIED
@given(NAMES.filter(lambda name: ":" not in name))
def test_the_name_of_a_plugin_finds_what_is_installed_or_nothing(name: str) -> None:
    with pytest.raises((PluginNotFoundError, PluginLoadError)):
        find_plugin(name)


class Copies(DatahubPlugin):
    """Stores its input, by the name it came with."""

    def process(self, ctx: TaskContext[Any]) -> dict[str, Any]:
        source = ctx.download()
        ctx.upload(source, f"{ctx.subtask_id}{source.name}")
        return {"path": str(source)}


@pytest.mark.parametrize("name", SOME)
def test_a_run_stays_in_its_state_folder(tmp_path: Path, name: str) -> None:
    """Subtask, task and file are called so, at Datahub and here."""
    source = tmp_path / "input"
    source.write_bytes(b"input")
    with Emulator(state_dir=tmp_path / "datahub") as datahub:
        datahub.store.create_subtask(name, task_id=name, input=source, file_name=name)
        given_settings = load_settings(
            base_url=datahub.url, state_dir=tmp_path / "a" / "state", isolation="thread"
        )
        before = set(tmp_path.rglob("*"))
        with LocalEngine(Copies, given_settings) as engine:
            outcome = engine.run(name, task_id=name).execute()
        assert outcome.exit_code == 0, outcome
        made = set(tmp_path.rglob("*")) - before
    assert outcome.result is not None
    work = work_dir_of(tmp_path / "a" / "state", name)
    assert work in Path(outcome.result["path"]).resolve().parents
    roots = (tmp_path / "a", tmp_path / "datahub")
    assert [path for path in made if not any(path.is_relative_to(root) for root in roots)] == []
    assert not Path("/etc/out").exists()


KEYS = [
    "../../../../../../../../etc/hostname",
    "..%2f..%2f..%2f..%2f..%2f..%2fetc%2fhostname",
    "%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/hostname",
    "/etc/hostname",
    "%2fetc%2fhostname",
    "..\\..\\etc\\hostname",
    "a%00b",
    "datahub.sqlite3",
    "../datahub.sqlite3",
]


def test_the_key_of_an_object(tmp_path: Path) -> None:
    """The local Datahub's storage knows keys, and no files."""
    with Emulator(state_dir=tmp_path) as datahub:
        _raw(datahub.url, "GET", "/")
        before = {path for path in tmp_path.rglob("*") if path.is_file()}
        for method, place, key in product(
            ("GET", "PUT"),
            ("", f"{PREFIX[1:]}/{BUCKET}/", f"{PREFIX[1:]}/", "local/", "page/"),
            KEYS,
        ):
            answer = _raw(datahub.url, method, f"/{place}{key}")
            assert answer.split(b" ")[1] in {b"400", b"403", b"404", b"405"}, (place, answer[:200])
            assert b"SQLite format" not in answer
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


def _raw(url: str, method: str, target: str) -> bytes:
    """To the letter: clients would tidy the path up."""
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), 30) as connection:
        request = f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 0\r\n"
        connection.sendall(f"{request}Connection: close\r\n\r\n".encode())
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer
