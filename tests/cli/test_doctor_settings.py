"""Every setting with its value and its place, right or wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from plugin_framework.cli.doctor import variables
from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.examine import examine
from plugin_framework.cli.doctor.reading import Row, read
from plugin_framework.errors import Code
from plugin_framework.settings import describe_settings
from tests.cli.doctoring import case_of, said


def rows(case: Case) -> dict[str, Row]:
    return {row.variable.removeprefix("DATAHUB_"): row for row in case.reading.rows}


def problems(case: Case) -> list[str]:
    return list(case.reading.problems)


def test_all_settings_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = case_of(monkeypatch, tmp_path).reading.rows
    assert [row.variable for row in found] == [one.variable for one in describe_settings()]
    assert {row.variable for row in found if row.source != "default"} == {"DATAHUB_STATE_DIR"}
    assert rows(case_of(monkeypatch, tmp_path))["HEARTBEAT_SECONDS"].value == "30"


def test_where_each_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "datahub_api_secret").write_text("canary\n")
    (secrets / "DATAHUB_TOKEN").write_text("canary")
    (tmp_path / ".env").write_text(
        "# comment\n\nDATAHUB_POLL_SECONDS=7\n"
        "DATAHUB_HEARTBEAT_SECONDS=9\nexport DATAHUB_API_KEY='canary'\nDATAHUB_TOKEN=canary\n"
        "DATAHUB_TRANSFER__CHUNK_SIZE=16MiB\nDATAHUB_MAX_QUEUE=\n"
    )
    case = case_of(monkeypatch, tmp_path, HEARTBEAT_SECONDS=5, SECRETS_DIR=secrets)
    assert problems(case) == []
    found = rows(case)
    assert found["POLL_SECONDS"].source == ".env, line 3"
    assert found["HEARTBEAT_SECONDS"].source == "environment"
    assert found["HEARTBEAT_SECONDS"].value == "5"
    assert found["HEARTBEAT_SECONDS"].overrides == (".env, line 4",)
    assert (found["API_KEY"].value, found["API_KEY"].source) == ("***", ".env, line 5")
    assert found["API_SECRET"].source == str(secrets / "datahub_api_secret")
    assert found["TOKEN"].source == ".env, line 6"
    assert found["TOKEN"].overrides == (str(secrets / "DATAHUB_TOKEN"),)
    assert found["TRANSFER__CHUNK_SIZE"].value == "16MiB"
    assert found["MAX_QUEUE"].source == "default"
    assert "canary" not in str(case.reading.rows)


def test_a_name_in_small_letters_is_shown_as_it_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case_of(monkeypatch, tmp_path)
    monkeypatch.setenv("datahub_grace_seconds", "8")
    row = rows(Case(read()))["GRACE_SECONDS"]
    assert (row.value, row.source) == ("8", "environment (datahub_grace_seconds)")


def test_the_bundle_that_openssl_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case_of(monkeypatch, tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", __file__)
    row = rows(Case(read()))["CA_BUNDLE"]
    assert (row.value, row.source) == (__file__, "SSL_CERT_FILE")


def test_wrong_ones_hide_no_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = case_of(
        monkeypatch,
        tmp_path,
        HEARTBEAT_SECONDS="often",
        TRANSFER__CHUNK_SIZE="1",
        TRANSFER__CONCURRENCY="8",
        API_KEY="key",
        BASE_URL="https://user:canary@datahub.example.com",
        POLL_SECONDS="3",
    )
    assert len(problems(case)) == 4
    found = rows(case)
    wrong = {"HEARTBEAT_SECONDS", "TRANSFER__CHUNK_SIZE", "API_SECRET", "BASE_URL"}
    assert {name for name, row in found.items() if row.wrong} == wrong
    assert found["HEARTBEAT_SECONDS"].value == "(wrong)"
    assert found["TRANSFER__CONCURRENCY"].value == "8"
    assert found["POLL_SECONDS"].value == "3"
    assert case.settings.heartbeat_seconds == 30
    assert "canary" not in str((case.reading.rows, case.reading.problems))


def test_a_nested_setting_given_as_a_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = case_of(monkeypatch, tmp_path, TRANSFER="fast", POLL_SECONDS="3")
    assert len(problems(case)) == 1
    assert rows(case)["POLL_SECONDS"].value == "3"


def test_a_line_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('DATAHUB_POLL_SECONDS=3\nDATAHUB_TOKEN="canary\n')
    case = case_of(monkeypatch, tmp_path, HEARTBEAT_SECONDS="often")
    first, second = problems(case)
    assert first.startswith(".env, line 2: expected NAME=value")
    assert second == 'DATAHUB_HEARTBEAT_SECONDS="often": expected a number greater than 0 (seconds)'
    assert rows(case)["POLL_SECONDS"].value == "3"
    assert "canary" not in str((case.reading.rows, case.reading.problems))


def test_a_file_that_is_no_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    case = case_of(monkeypatch, tmp_path, POLL_SECONDS="3")
    assert problems(case) == [".env: expected a readable UTF-8 text file (it is not UTF-8)"]
    assert rows(case)["POLL_SECONDS"].value == "3"


def test_a_secret_file_that_is_no_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "DATAHUB_TOKEN"
    file.write_bytes(b"\xff\xfe")
    case = case_of(monkeypatch, tmp_path, SECRETS_DIR=tmp_path)
    row = rows(case)["TOKEN"]
    assert (row.value, row.source, row.wrong) == ("(wrong)", str(file), True)
    assert said(case, variables.CHECKS)["settings"].remedy == f"correct it in {file}"


def test_remedies_name_the_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATAHUB_ISOLATION=none\n")
    found = said(case_of(monkeypatch, tmp_path), variables.CHECKS)["settings"]
    assert found.level == "fail"
    assert found.message == 'DATAHUB_ISOLATION="none": expected process or thread'
    assert found.remedy == "correct it in .env, line 1"
    assert found.code is Code.SETTING_WRONG


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("API_SECRTE", "canary", "DATAHUB_API_SECRTE is not a setting; did you mean"),
        ("API_SECRET", '"canary"', "DATAHUB_API_SECRET begins or ends with white space or a quote"),
    ],
)
def test_doubts(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = case_of(monkeypatch, tmp_path, API_KEY="key", **{"API_SECRET": "s", variable: value})
    found = said(case, variables.CHECKS)["settings"]
    assert found.level == "warn"
    assert words in found.message
    assert "canary" not in str(found)


def test_secrets_that_others_may_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("DATAHUB_TOKEN=canary\n")
    dotenv.chmod(0o644)
    found = said(case_of(monkeypatch, tmp_path), variables.CHECKS)["settings"]
    assert (found.level, found.remedy) == ("warn", "chmod 600 .env")
    dotenv.chmod(0o600)
    assert said(case_of(monkeypatch, tmp_path), variables.CHECKS)["settings"].level == "ok"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{bad", "the config is not JSON: "),
        ("[1]", "the config is not a JSON object"),
        ("password=canary", "the config file *** cannot be read (No such file or directory)"),
        (".", "the config file *** cannot be read (Is a directory)"),
    ],
)
def test_a_config_that_no_run_could_take(
    config: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = case_of(monkeypatch, tmp_path, CONFIG=config)
    found = said(case, variables.CHECKS)["settings"]
    assert (found.level, found.code) == ("fail", Code.CONFIG_UNREADABLE)
    assert found.message.startswith(f"DATAHUB_CONFIG: {words}")
    assert found.remedy == "correct it in the environment"
    row = rows(case)["CONFIG"]
    assert (row.value, row.wrong) == ("(wrong)", True)
    assert "canary" not in str((case.reading.rows, found))


def test_a_config_that_is_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe")
    for config in ('{"a": 1}', "config.json", "pipe"):
        case = case_of(monkeypatch, tmp_path, CONFIG=config)
        assert said(case, variables.CHECKS)["settings"].level == "ok"
        assert rows(case)["CONFIG"].value == "***"


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b"\xff\xfe")])
def test_a_dotenv_that_cannot_be_read(
    make: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make(tmp_path / ".env")
    found = said(case_of(monkeypatch, tmp_path), variables.CHECKS)["settings"]
    assert found.message.startswith(".env: expected a readable UTF-8 text file (")
    assert found.remedy is not None
    assert found.remedy.startswith("make .env a file of UTF-8 text that user ")


def test_a_secret_whose_key_stands_on_a_line_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("DATAHUB_API_SECRET=canary\nDATAHUB_API_KEY my-key\n")
    case = case_of(monkeypatch, tmp_path)
    _, second = case.reading.problems
    expected = "expected the one that belongs to DATAHUB_API_SECRET"
    assert second == f"DATAHUB_API_KEY is not set: {expected}"
    assert second.code is Code.SETTING_MISSING
    found = rows(case)
    assert (found["API_KEY"].wrong, found["API_SECRET"].wrong) == (True, False)
    assert found["API_SECRET"].value == "***"
    remedies = [one.remedy for one in examine(case, variables.CHECKS)]
    assert "set it: in the environment, in .env, or a secret in a file of its name" in remedies
    assert "correct it in .env, line 1" not in remedies
