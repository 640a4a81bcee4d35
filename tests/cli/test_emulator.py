from __future__ import annotations

import shlex
import signal
import socket
import stat
from pathlib import Path

import httpx
import pytest

from plugin_framework.cli.emulator import DIALECTS
from plugin_framework.emulator.dialects import DIALECTS as KNOWN
from tests.cli.calling import call
from tests.cli.running import Running


def emulator(tmp_path: Path, *options: str | Path, port: str = "0") -> Running:
    given = ("emulator", "--port", port, "--state", tmp_path / "state", *options)
    return Running(*given, cwd=tmp_path)


def exported(running: Running) -> dict[str, str]:
    """What the second line sets where it is pasted into a shell."""
    running.wait_for(lambda: len(running.out) == 2)
    export, *assignments = shlex.split(running.out[1])
    assert export == "export"
    return dict(assignment.split("=", 1) for assignment in assignments)


def notify(url: str) -> int:
    answer = httpx.get(f"{url}/api/task/notify?task_id=none", trust_env=False)
    return int(answer.json()["code"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_the_page_is_and_what_to_set_the_same_after_a_restart(
    number: int, tmp_path: Path
) -> None:
    given = []
    for _ in range(2):
        with emulator(tmp_path) as running:
            variables = exported(running)
            assert variables.pop("DATAHUB_BASE_URL") == running.url
            given.append(variables)
            assert "<html" in httpx.get(f"{running.url}/", trust_env=False).text
            assert notify(running.url) == 401
            assert running.end(number) == 0
        assert running.err == []
    assert given[0] == given[1]
    assert len(given[0]["DATAHUB_API_SECRET"]) >= 32
    kept = tmp_path / "state" / "datahub.sqlite3"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_what_it_says_is_what_a_plugin_needs(tmp_path: Path) -> None:
    with emulator(tmp_path) as running:
        ended = call(
            "run",
            "tests.cli.sample_plugins:Echo",
            "--subtask-id",
            "unknown",
            cwd=tmp_path,
            env=exported(running) | {"DATAHUB_STATE_DIR": str(tmp_path)},
        )
    assert ended.code == 2
    assert "unknown subtask" in ended.err


def test_without_signatures(tmp_path: Path) -> None:
    with emulator(tmp_path, "--no-auth") as running:
        assert exported(running) == {"DATAHUB_BASE_URL": running.url}
        assert notify(running.url) == 1


def test_a_key_and_secret_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("it's mine\n")
    with emulator(tmp_path, "--key", "k", "--secret-file", file) as running:
        given = exported(running)
    assert (given["DATAHUB_API_KEY"], given["DATAHUB_API_SECRET"]) == ("k", "it's mine")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with emulator(tmp_path, port=port) as running:
            assert f"--port {port}: Address already in use" in running.problem()


def test_a_state_folder_that_another_one_uses(tmp_path: Path) -> None:
    with emulator(tmp_path) as first:
        assert first.url
        with emulator(tmp_path) as second:
            assert (
                f"--state {tmp_path / 'state'}: another local Datahub uses it" in second.problem()
            )


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with emulator(tmp_path) as running:
        assert "it cannot be written" in running.problem()


@pytest.mark.parametrize("options", [(), ("--no-auth",)])
def test_a_state_that_is_none(options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "datahub.sqlite3").write_text("something else" * 100)
    with emulator(tmp_path, *options) as running:
        assert "it cannot be used" in running.problem()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--chaos", "no-such.toml"), "no-such.toml: expected a readable TOML file"),
        (("--dialect", "gcs"), "'gcs' is not one of 's3', 's3-v2', 'oss', 'oss-v1', 'cos'"),
        (("--host", "0.0.0.0"), "--allow-wildcard"),
        (("--host", "no such host"), "--host no such host"),
        (("--key", "k"), "--key and --secret-file go together"),
        (("--key", "k", "--secret-file", "missing"), "--secret-file missing: No such file"),
        (("--lost-after", "nan"), "--lost-after: expected a number of seconds"),
        (("--public-url", "http://host/path"), "--public-url: expected http:// or https://"),
        (("--service", "file:///x"), "--service file:///x: the address of a service: it must"),
        (("bench",), "--port is of no use before another command"),
    ],
)
def test_what_cannot_be_is_one_line(options: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    with emulator(tmp_path, *options) as running:
        assert problem in running.problem()
        assert running.out == []


def test_all_dialects_can_be_had() -> None:
    assert tuple(KNOWN) == DIALECTS


def test_settings_about_another_datahub_do_not_count(tmp_path: Path) -> None:
    env = {"DATAHUB_BASE_URL": "wrong", "DATAHUB_PROXY": "wrong", "DATAHUB_STATE_DIR": "kept"}
    with Running("emulator", "--port", "0", cwd=tmp_path, **env) as running:
        assert running.url
    assert (tmp_path / "kept" / "emulator" / "datahub.sqlite3").exists()


def test_where_others_find_it(tmp_path: Path) -> None:
    with emulator(tmp_path, "--no-auth", "--public-url", "http://datahub.test:8080") as running:
        assert exported(running) == {"DATAHUB_BASE_URL": "http://datahub.test:8080"}
