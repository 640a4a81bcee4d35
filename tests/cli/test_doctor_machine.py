"""The state folder, the journal, storage, and what this machine allows."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from plugin_framework.cli.doctor import examine, machine, state, storage
from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.finding import Check, Told
from plugin_framework.engines.local import JOURNAL
from plugin_framework.errors import Code, JournalError
from plugin_framework.journal.journal import Journal
from tests.cli.doctoring import case_of, levels, said
from tests.scripted_server import ScriptedServer, status

OWN_MOUNTS = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
ON_ITS_OWN_DISK = """
import sys
from plugin_framework.cli.doctor import state
from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.examine import examine
from plugin_framework.cli.doctor.reading import read
for one in examine(Case(read()), state.CHECKS):
    print(one.check, one.level, one.message)
"""


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    mount = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


def on_its_own_disk(folder: Path, mount: str) -> list[str]:
    """What is said of a state folder that was mounted so, for one process alone."""
    case = [*OWN_MOUNTS, "sh", "-ec", f'{mount}\nexec "$@"', "sh", sys.executable, "-c"]
    ended = subprocess.run(
        [*case, ON_ITS_OWN_DISK],
        env={**os.environ, "DATAHUB_STATE_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.splitlines()


mounts = pytest.mark.skipif(not _may_mount(), reason="mounts of its own are not to be had here")


def test_a_folder_that_is_not_there_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = case_of(monkeypatch, tmp_path)
    found = said(case, state.CHECKS)
    assert levels(found)["state"] == "ok"
    assert found["state"].message.endswith("can be written (it will be made)")
    assert found["journal"].message == "there is none yet"
    assert not case.settings.state_dir.exists()


def test_a_folder_that_others_may_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = case_of(monkeypatch, tmp_path)
    folder = case.settings.state_dir
    folder.mkdir(mode=0o755)
    found = said(case, state.CHECKS)["state"]
    assert (found.level, found.remedy) == ("warn", f"chmod 700 {folder}")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "words", "remedy"),
    [
        ("a" * 300, "a name in it is over ", "set DATAHUB_STATE_DIR to a shorter path"),
        ("none/" + "a" * 300, "a name in it is over ", "set DATAHUB_STATE_DIR to a shorter path"),
        ("abc/" * 200, "too long for SQLite", "set DATAHUB_STATE_DIR to a shorter path"),
        ("file/x", "file is in the way, and is a file", "set DATAHUB_STATE_DIR to another folder"),
        ("link/x", "is a symbolic link to nothing", "set DATAHUB_STATE_DIR to another folder"),
    ],
    ids=["long name", "long name below", "long path", "file", "link"],
)
def test_a_folder_that_cannot_be_made(
    folder: str, words: str, remedy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    case = case_of(monkeypatch, tmp_path, STATE_DIR=tmp_path / folder)
    found = said(case, state.CHECKS)["state"]
    assert (found.level, found.remedy) == ("fail", remedy)
    assert words in found.message


def test_the_longest_path_is_what_sqlite_opens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    below = tmp_path / ("a" * 240)
    room = state._LONGEST_PATH - len(str(below / "b" / JOURNAL)) + 1
    case = case_of(monkeypatch, tmp_path, STATE_DIR=below / ("b" * room))
    assert said(case, state.CHECKS)["state"].level == "ok"
    case.settings.state_dir.mkdir(parents=True)
    Journal(case.settings.state_dir / JOURNAL).close()
    longer = case_of(monkeypatch, tmp_path, STATE_DIR=below / ("b" * (room + 1)))
    longer.settings.state_dir.mkdir()
    with pytest.raises(JournalError):
        Journal(longer.settings.state_dir / JOURNAL)
    assert said(longer, state.CHECKS)["state"].level == "fail"


def _of_another_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (text)")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.mkdir, "is a folder"),
        (os.mkfifo, "is no regular file"),
        (lambda path: path.symlink_to("nowhere"), "is a symbolic link to nothing"),
        (_of_another_application, "is not a journal of this framework (a database of another"),
    ],
    ids=["folder", "fifo", "link", "database"],
)
def test_what_is_no_journal(
    make: Callable[[Path], object], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = case_of(monkeypatch, tmp_path)
    case.settings.state_dir.mkdir(mode=0o700)
    path = case.settings.state_dir / JOURNAL
    make(path)
    found = said(case, state.CHECKS)["journal"]
    assert found.level == "fail"
    assert found.message.startswith(f"{path} {words}")
    assert found.remedy == "move it elsewhere, or set DATAHUB_STATE_DIR to another folder"
    assert found.code is (Code.JOURNAL_FOREIGN if "database" in words else Code.JOURNAL_UNUSABLE)


@mounts
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o ro none {tmp_path}"
    first, *_ = on_its_own_disk(tmp_path, mount)
    assert first == f"state fail {tmp_path} cannot be written (Read-only file system)"


@mounts
def test_a_full_disk(tmp_path: Path) -> None:
    fill = f"(cat /dev/zero > {tmp_path}/filler) 2>&- || true"
    lines = on_its_own_disk(tmp_path, f"mount -t tmpfs -o size=64k none {tmp_path}\n{fill}")
    assert lines[0] == f"state fail {tmp_path} cannot be written (No space left on device)"
    assert f"disk fail 0 MiB free for {tmp_path}" in lines


def test_reports_that_are_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = case_of(monkeypatch, tmp_path)
    case.settings.state_dir.mkdir(mode=0o700)
    path = case.settings.state_dir / JOURNAL
    with closing(Journal(path)) as journal:
        journal.start_attempt("s-1", task_id=None, plugin="p", config={})
    assert said(case, state.CHECKS)["journal"].message == "1 subtask, nothing undelivered"
    with closing(Journal(path)) as journal:
        journal.add_report("s-1", status=1, path="/api/task/update_status", body=b"{}")
        report = journal.add_report("s-1", status=5, path="/p", body=b"{}", outcome={"a": 1})
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    found = said(case, state.CHECKS)["journal"]
    assert (found.level, found.remedy) == ("warn", "datahub-plugin journal deliver")
    assert found.message.startswith("reports of 1 subtask are undelivered, the oldest for 0.0 h")
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
    with closing(Journal(path)) as journal:
        for number in (report.report_id - 1, report.report_id):
            journal.settle_report(number, "refused")
    assert "Datahub has refused" in said(case, state.CHECKS)["journal"].message


def test_a_damaged_journal_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = case_of(monkeypatch, tmp_path)
    case.settings.state_dir.mkdir(mode=0o700)
    path = case.settings.state_dir / JOURNAL
    path.write_bytes(b"no database at all, and long enough to be one " * 100)
    found = said(case, state.CHECKS)["journal"]
    assert found.level == "fail"
    assert "is damaged" in found.message
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("hard", "level"), [(256, "warn"), (-1, "ok"), (4096, "ok")])
def test_open_files(hard: int, level: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, hard))
    assert said(case_of(monkeypatch, tmp_path), machine.CHECKS)["files"].level == level


def test_versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = machine.versions(case_of(monkeypatch, tmp_path))
    told = " ".join(message for _, message, *_ in found)
    for name in ("plugin_framework ", "Python 3", "libcurl/", "OpenSSL", "SQLite 3", "httpx "):
        assert name in told


def storage_says(case: Case) -> list[tuple[str, str]]:
    found = [one for check in storage.checks(case.settings) for one in check.look(case)]
    return [(level, message) for level, message, *_ in found]


def test_storage_that_is_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ((level, message),) = storage_says(case_of(monkeypatch, tmp_path))
    assert level == "skip"
    assert "only Datahub's URLs say" in message


def test_storage_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hosts = "*.example.com,storage.invalid,169.254.169.254"
    case = case_of(monkeypatch, tmp_path, TRANSFER__ALLOWED_HOSTS=hosts)
    pattern, unknown, metadata = storage_says(case)
    assert pattern == ("skip", "*.example.com stands for any number of hosts")
    assert unknown[0] == "fail"
    assert "does not resolve" in unknown[1]
    assert metadata[0] == "fail"
    assert "is a metadata or link-local address" in metadata[1]


def test_storage_beside_datahub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with ScriptedServer(then=status(403)) as server:
        case = case_of(
            monkeypatch, tmp_path, BASE_URL=server.url, TRANSFER__ALLOWED_HOSTS="localhost"
        )
        assert storage_says(case) == [("ok", f"{server.url}/ answers (HTTP 403)")]


def test_storage_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        if nobody.connect_ex(("127.0.0.1", 443)) == 0:
            pytest.skip("something serves https:// on this machine")
    case = case_of(monkeypatch, tmp_path, TRANSFER__ALLOWED_HOSTS="127.0.0.1")
    ((level, message),) = storage_says(case)
    assert level == "warn"
    assert message.startswith("https://127.0.0.1/ does not answer ")


def _look(look: Callable[[], None]) -> Callable[[Case], list[Told]]:
    def looking(_case: Case) -> list[Told]:
        look()
        return [("ok", "looked at")]

    return looking


def _raise() -> None:
    raise RuntimeError("of its own")


def test_checks_that_hang_or_fail_hold_up_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended = threading.Event()
    group = (
        Check("hangs", _look(lambda: assert_waited(ended)), seconds=0.05),
        Check("fails", _look(_raise)),
        Check("needs", _look(lambda: None), ("hangs",)),
        Check("needs it, too", _look(lambda: None), ("needs",)),
        Check("is well", _look(lambda: None)),
    )
    found = {one.check: one for one in examine.examine(case_of(monkeypatch, tmp_path), group)}
    ended.set()
    assert list(levels(found).values()) == ["fail", "fail", "skip", "skip", "ok"]
    assert found["hangs"].message == "no end to it within 0.05 s"
    assert all(found[name].remedy and found[name].code for name in ("hangs", "fails"))
    assert found["fails"].message == "it cannot be looked at (RuntimeError: of its own)"
    assert found["needs it, too"].message == "not looked at, because of hangs"


def test_what_was_told_before_a_fault_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def look(_case: Case) -> Iterator[Told]:
        yield "ok", "looked at"
        raise RuntimeError("of its own")

    first, second = examine.examine(case_of(monkeypatch, tmp_path), [Check("both", look)])
    assert first.message == "looked at"
    assert second.remedy
    assert second.code is Code.UNEXPECTED


def assert_waited(ended: threading.Event) -> None:
    assert ended.wait(60)
