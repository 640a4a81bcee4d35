from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.calling import PLUGINS, Ended, call
from tests.cli.sample_plugins import PRESIGNED

CONTENT = b"what it was\n"
SECRET = PRESIGNED.partition("?")[2]
ELSEWHERE = {
    "DATAHUB_BASE_URL": "http://datahub.internal",
    "DATAHUB_API_KEY": "of-another-datahub",
    "DATAHUB_TOKEN": "with space",
    "DATAHUB_PROXY": "nonsense",
    "DATAHUB_CA_BUNDLE": "/no/such/file",
    "DATAHUB_STATE_DIR": "/proc/version",
    "DATAHUB_TRANSFER__ALLOWED_HOSTS": "storage.example.com",
    "DATAHUB_ENGINE": "celery",
    "DATAHUB_SUBTASK_ID": "from-the-environment",
    "HTTP_PROXY": "http://127.0.0.1:9",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "input.txt"
    path.write_bytes(CONTENT)
    return path


def run(plugin: str, source: Path, out: Path, *more: str, **env: str) -> Ended:
    given = ("--local", source, "--out", out)
    return call("run", f"{PLUGINS}:{plugin}", *given, *more, cwd=source.parent, env=env)


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("plugin", ["Echo", "EchoThread"])
def test_one_json_object_on_stdout_and_json_lines_on_stderr(
    plugin: str, source: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.txt"
    link.symlink_to(source)
    before = source.stat()
    ended = run(
        plugin, link, tmp_path / "new" / "out", "--set", "word=é", DATAHUB_LOG_LEVEL="DEBUG"
    )
    assert ended.code == 0
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    nothing = hashlib.sha256().hexdigest()
    assert ended.outcome == {
        "subtask_id": "local",
        "status": 3,
        "status_name": "completed",
        "result": {
            "total_counts": 1,
            "success_counts": 1,
            "failed_counts": 0,
            "word": "é",
            "secrets": [],
        },
        "outputs": [
            {"name": "deep/er/link.txt", "size": len(CONTENT), "sha256": sha256},
            {"name": "empty", "size": 0, "sha256": nothing},
        ],
        "error": None,
        "delivered": True,
        "attempt": 1,
    }
    assert "é" in ended.out
    text = json.dumps(ended.log)
    assert "printed to stderr" in text
    ways = ["print", "write", "a child", "ctx.run", "C"]
    if plugin == "EchoThread":
        ways += ["warnings", "threading"]
    for way in ways:
        assert f"printed by {way}" in text
    assert "fetched https://storage.example.com/key?..." in text
    fetched = [line for line in ended.log if line["message"].startswith("fetched")]
    assert [line["subtask_id"] for line in fetched] == ["local"]
    assert SECRET not in ended.err
    assert files(tmp_path / "new" / "out") == {"deep/er/link.txt": CONTENT, "empty": b""}
    assert source.read_bytes() == CONTENT
    assert (source.stat().st_mtime_ns, source.stat().st_nlink) == (before.st_mtime_ns, 1)


def test_what_is_about_another_datahub_does_not_count(source: Path, tmp_path: Path) -> None:
    source.write_bytes(b"")
    out = tmp_path / "out"
    (out / "deep" / "er").mkdir(parents=True)
    (out / "deep" / "er" / "input.txt").write_text("an older run's")
    (out / "other").write_text("not ours")
    with (out / "deep" / "er" / "input.txt").open() as older:
        ended = run("Echo", source, out, **ELSEWHERE)
        assert older.read() == "an older run's"
    assert ended.code == 0
    assert ended.outcome["subtask_id"] == "from-the-environment"
    assert files(out) == {"deep/er/input.txt": b"", "empty": b"", "other": b"not ours"}
    assert "of-another-datahub" not in ended.err


@pytest.mark.parametrize("plugin", ["Fails", "Raises"])
def test_a_failed_task_leaves_nothing(plugin: str, source: Path, tmp_path: Path) -> None:
    ended = run(plugin, source, tmp_path / "out")
    assert ended.code == 1
    assert ended.outcome["status"] == 5
    assert ended.outcome["result"] is None
    assert "https://storage.example.com/key?..." in ended.outcome["error"]
    assert SECRET not in ended.out + ended.err
    assert ("Traceback" in ended.err) == (plugin == "Raises")
    assert list((tmp_path / "out").iterdir()) == []
    assert ended.log


def test_hostile_names_stay_inside_and_one_that_does_not_fit_stops_no_other(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "out"
    (out / "target").mkdir(parents=True)
    before = {path for path in tmp_path.rglob("*") if out not in path.parents}
    ended = run("HostileNames", source, out)
    assert ended.code == 2
    assert ended.out == ""
    problems = [line["message"] for line in ended.log if line["logger"] == "datahub.cli"]
    assert len(problems) == 2  # "..", whose folder "../../evil" is in, and "target"
    assert problems[1].startswith(f"the output {out / 'target'} cannot be written (")
    assert {path for path in tmp_path.rglob("*") if out not in path.parents} == before
    found = files(out)
    assert set(found.values()) == {b"evil"}
    assert {"_/_/evil", "absolute", "a/_/_/b", "slash", "bell_", "[/red]"} < found.keys()
    assert len(found) == 7


def test_nobody_reads_stdout(source: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    given = (f"{PLUGINS}:Fails", "--local", source, "--out", tmp_path / "out")
    with os.fdopen(writer, "w") as stdout:
        ended = call("run", *given, cwd=tmp_path, stdout=stdout)
    assert ended.code == 1
    assert "Traceback" not in ended.err


def test_closed_streams_are_not_given_to_other_files(source: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "plugin_framework", "run", f"{PLUGINS}:Echo"]
    script = 'exec "$@" >&- 2>&-'
    ended = subprocess.run(
        ["sh", "-c", script, "sh", *argv, "--local", source, "--out", tmp_path / "out"],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert ended.returncode == 0
    assert files(tmp_path / "out") == {"deep/er/input.txt": CONTENT, "empty": b""}


def test_a_module_in_the_current_folder(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from plugin_framework import DatahubPlugin\n"
        "class Mine(DatahubPlugin):\n"
        "    def process(self, ctx):\n"
        "        return {'size': len(ctx.open_input().read())}\n"
    )
    given = ("--local", source.name, "--out", ".", "--subtask-id", "it")
    ended = call("run", "mine:Mine", *given, cwd=tmp_path)
    assert (ended.code, ended.outcome["result"]) == (0, {"size": len(CONTENT)})
    assert ended.outcome["subtask_id"] == "it"
    assert {path.name for path in tmp_path.iterdir()} <= {"input.txt", "mine.py", "__pycache__"}
