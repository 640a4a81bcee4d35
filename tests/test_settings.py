import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from plugin_framework.errors import SettingsError
from plugin_framework.settings import (
    Settings,
    TransferSettings,
    describe_settings,
    load_settings,
    secret_variables,
    unknown_variables,
)
from tests.setting_examples import BAD, BAD_SECRETS, BROKER, CANARY, DEFAULTS, GOOD, HTTPS


@pytest.fixture(autouse=True)
def _clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith("DATAHUB_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setattr("plugin_framework.settings.values._DEFAULT_SECRETS_DIR", tmp_path / "none")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def secrets_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv("DATAHUB_SECRETS_DIR", str(folder))
    return folder


def value_of(settings: Settings, name: str) -> object:
    value: object = settings
    for part in name.lower().split("__"):
        value = getattr(value, part)
    return value


def problems(**overrides: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(**overrides)
    assert caught.value.__context__ is None
    return caught.value.problems


def set_variables(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"DATAHUB_{name}", value)


def test_every_variable_is_there_and_described() -> None:
    rows = describe_settings()
    names = {row.variable.removeprefix("DATAHUB_") for row in rows}
    assert names == {*DEFAULTS, "STATE_DIR", "SECRETS_DIR"}
    for row in rows:
        assert row.meaning.endswith(".")
        assert "\n" not in row.meaning
        assert row.expected
        assert row.default


def test_every_variable_has_a_good_and_a_bad_example() -> None:
    names = {row.variable.removeprefix("DATAHUB_") for row in describe_settings()}
    with_tests_of_their_own = {"API_KEY", "API_SECRET", "API_SECRET_PREVIOUS", "SECRETS_DIR"}
    assert names - {name for name, *_ in GOOD} == with_tests_of_their_own
    any_text = {"TASK_ID", "PLUGIN", "CONFIG", "API_SECRET"}
    assert names - {name for name, *_ in BAD + BAD_SECRETS} == any_text


def test_units_and_defaults_are_told_as_text() -> None:
    rows = {row.variable: row for row in describe_settings()}
    assert rows["DATAHUB_HEARTBEAT_SECONDS"].default == "30"
    assert rows["DATAHUB_TRANSFER__CHUNK_SIZE"].default == "auto"
    assert rows["DATAHUB_TRANSFER__ALLOWED_HOSTS"].default == "any"
    assert rows["DATAHUB_STATE_DIR"].default == "the user state directory"
    assert rows["DATAHUB_ALLOW_INSECURE"].default == "false"
    assert rows["DATAHUB_TOKEN"].default == "none"
    assert rows["DATAHUB_TOKEN"].secret
    for row in rows.values():
        if row.variable.endswith(("_SECONDS", "_DEADLINE", "_TIMEOUT")):
            assert "econds" in row.meaning


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_default(name: str, default: object) -> None:
    assert value_of(load_settings(), name) == default


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_good_value(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    set_variables(monkeypatch, {name: text})
    assert value_of(load_settings(), name) == value


@pytest.mark.parametrize(("name", "text", "expected"), BAD)
def test_bad_value(monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: str) -> None:
    set_variables(monkeypatch, {name: text})
    shown = text.replace("\udcff", r"\\udcff")
    assert problems() == (f'DATAHUB_{name}="{shown}": expected {expected}',)


@pytest.mark.parametrize(("name", "text", "expected"), BAD_SECRETS)
def test_bad_secret_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: str
) -> None:
    set_variables(monkeypatch, {name: text, "API_SECRET": "s"})
    if name != "API_KEY":
        set_variables(monkeypatch, {"API_KEY": "k"})
    assert problems() == (f"DATAHUB_{name}: expected {expected}",)


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{CANARY}@example.com",
        f"https://example.com?token={CANARY}",
        f"https://example.com/#{CANARY}",
        f"user:{CANARY}@example.com",
    ],
)
def test_address_with_a_password_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    set_variables(monkeypatch, {"BASE_URL": url})
    (line,) = problems()
    assert line.startswith("DATAHUB_BASE_URL: expected an")
    assert CANARY not in line


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "127.1.2.3:1", "[::1]:8080"])
def test_http_is_fine_on_loopback(host: str) -> None:
    assert load_settings(base_url=f"http://{host}").base_url == f"http://{host}"


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost.example.com", "[fe80::1]", "0.0.0.0"])
def test_http_elsewhere_needs_leave(host: str) -> None:
    assert problems(base_url=f"http://{host}") == (
        f'DATAHUB_BASE_URL="http://{host}": expected {HTTPS}',
    )
    assert load_settings(base_url=f"http://{host}", allow_insecure=True).base_url


def test_key_and_secret_belong_together() -> None:
    assert problems(api_key="k") == (
        "DATAHUB_API_SECRET is not set: expected the one that belongs to DATAHUB_API_KEY",
    )
    assert problems(api_secret=CANARY) == (
        "DATAHUB_API_KEY is not set: expected the one that belongs to DATAHUB_API_SECRET",
    )
    settings = load_settings(api_key="k", api_secret=CANARY, api_secret_previous="old")
    assert settings.api_secret == SecretStr(CANARY)
    assert settings.api_secret_previous == SecretStr("old")


def test_an_engine_for_many_machines_needs_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, {"ENGINE": "Celery"})
    expected = f"DATAHUB_BROKER_URL is not set: expected {BROKER}, with DATAHUB_ENGINE=celery"
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.problems == (expected,)
    assert caught.value.problems[0].code == "DH-101"
    assert problems(broker_url="redis://h") == (f"DATAHUB_BROKER_URL: expected {BROKER}",)
    assert load_settings(broker_url="amqp://h").engine == "celery"


def test_a_node_is_called_after_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "grün." + "x" * 80)
    assert load_settings().node == "gr-n." + "x" * 58


def test_all_problems_come_at_once(monkeypatch: pytest.MonkeyPatch, secrets_dir: Path) -> None:
    (secrets_dir / "DATAHUB_TOKEN").mkdir()
    bad = {name: text for name, text, _ in BAD if name not in {"TRANSFER", "SECRETS_DIR"}}
    bad["BASE_URL"] = "ftp://datahub.example.com"
    set_variables(monkeypatch, bad | {"API_KEY": "k"})
    named = [re.match(r"DATAHUB_(\w+)", line) for line in problems()]
    assert {found[1] for found in named if found} == {*bad, "API_SECRET", "TOKEN"}
    assert len(named) == len(bad) + 2


def test_long_and_undecodable_values_are_shown_short_and_printable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_variables(monkeypatch, {"LOG_FORMAT": "x" * 5000, "ENGINE": "\udcff\n\x1b"})
    engine, log_format = problems()
    assert engine.startswith(r'DATAHUB_ENGINE="\\udcff\n\u001b": expected local or')
    assert len(log_format) < 200


def test_undecodable_dotenv_is_one_line_among_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_bytes(b"DATAHUB_API_SECRET=" + CANARY.encode() + b"\xff\n")
    set_variables(monkeypatch, {"API_KEY": "k", "ENGINE": "ray"})
    assert problems() == (
        ".env: expected a readable UTF-8 text file (it is not UTF-8)",
        'DATAHUB_ENGINE="ray": expected local or celery',
    )
    assert unknown_variables({}) == []


@pytest.mark.parametrize("name", ["DATAHUB_API_SECRET", "datahub_api_secret"])
def test_secret_file(secrets_dir: Path, name: str) -> None:
    (secrets_dir / name).write_text(f"{CANARY}\n", "utf-8")
    (secrets_dir / "DATAHUB_PLUGIN").write_text("not-a-secret", "utf-8")
    (secrets_dir / "DATAHUB_TOKEN").write_text("\n", "utf-8")
    settings = load_settings(api_key="k")
    assert settings.api_secret == SecretStr(CANARY)
    assert settings.plugin is None
    assert settings.token is None


def test_secrets_folder_may_be_named_in_dotenv(tmp_path: Path) -> None:
    (tmp_path / "DATAHUB_TOKEN").write_text(CANARY, "utf-8")
    Path(".env").write_text(f"DATAHUB_SECRETS_DIR={tmp_path}\n", "utf-8")
    assert load_settings().token == SecretStr(CANARY)


def test_default_secrets_folder_is_used_where_it_exists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("plugin_framework.settings.values._DEFAULT_SECRETS_DIR", tmp_path)
    (tmp_path / "DATAHUB_TOKEN").write_text(CANARY, "utf-8")
    assert load_settings().token == SecretStr(CANARY)
    assert load_settings().secrets_dir == tmp_path


def test_unreadable_secret_files_are_named_and_not_quoted(secrets_dir: Path) -> None:
    (secrets_dir / "DATAHUB_TOKEN").write_bytes(CANARY.encode() + b"\xff")
    (secrets_dir / "DATAHUB_PROXY").symlink_to("nowhere")
    expected = "expected a readable UTF-8 text file"
    assert problems() == (
        f"DATAHUB_TOKEN: {expected}: {secrets_dir}/DATAHUB_TOKEN (it is not UTF-8)",
        f"DATAHUB_PROXY: {expected}: {secrets_dir}/DATAHUB_PROXY (No such file or directory)",
    )


def test_precedence(monkeypatch: pytest.MonkeyPatch, secrets_dir: Path) -> None:
    (secrets_dir / "DATAHUB_TOKEN").write_text("file", "utf-8")
    assert load_settings().token == SecretStr("file")
    Path(".env").write_text("DATAHUB_TOKEN=dotenv\n", "utf-8")
    assert load_settings().token == SecretStr("dotenv")
    monkeypatch.setenv("DATAHUB_TOKEN", "environment")
    assert load_settings().token == SecretStr("environment")
    assert load_settings(token="argument").token == SecretStr("argument")
    assert load_settings(token=None).token == SecretStr("environment")


def test_nested_values_of_several_sources_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("DATAHUB_TRANSFER__DIGEST=none\n", "utf-8")
    set_variables(monkeypatch, {"TRANSFER__CONCURRENCY": "2", "TRANSFER__NO__SUCH": "x"})
    settings = load_settings(transfer={"bandwidth": 1000})
    assert settings.transfer == TransferSettings(concurrency=2, digest="none", bandwidth=1000)


def test_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, {"BASE_URL": "", "HEARTBEAT_SECONDS": ""})
    assert load_settings() == Settings()


def test_variables_are_read_in_any_letter_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Datahub_Plugin", "word-count")
    assert load_settings().plugin == "word-count"


def test_what_the_operator_chose_can_be_told_from_a_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_variables(monkeypatch, {"ISOLATION": "process"})
    assert "isolation" in load_settings().model_fields_set
    assert "timeout_seconds" not in load_settings().model_fields_set


def test_state_folder_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert load_settings().state_dir == tmp_path / ".local/state/datahub-plugin"
    assert load_settings(state_dir="~/x").state_dir == tmp_path / "x"
    assert load_settings(state_dir="x").state_dir == tmp_path / "here" / "x"
    assert not (tmp_path / "x").exists()


def test_ssl_cert_file_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", sys.executable)
    assert load_settings().ca_bundle == Path(sys.executable)
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    assert load_settings().ca_bundle is None


def test_datahub_is_demanded_where_needed() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings().require_datahub()
    assert str(caught.value) == (
        "DATAHUB_BASE_URL is not set: "
        "expected the address of Datahub, such as https://datahub.example.com"
    )
    assert load_settings(base_url="http://[::1]:1/").require_datahub() == "http://[::1]:1"


def test_unknown_variables_name_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("DATAHUB_TRANSFER_CHUNK_SIZE=1\nOTHER=1\nDATAHUB_PROXY=env\n", "utf-8")
    environ = {"DATAHUB_HEARTBEAT_SECOND": "1", "datahub_url": "x", "PATH": "", "DATAHUB_TOKEN": ""}
    assert unknown_variables(environ) == [
        "DATAHUB_HEARTBEAT_SECOND is not a setting; did you mean DATAHUB_HEARTBEAT_SECONDS?",
        "DATAHUB_TRANSFER_CHUNK_SIZE is not a setting; did you mean DATAHUB_TRANSFER__CHUNK_SIZE?",
        "DATAHUB_URL is not a setting; did you mean DATAHUB_BASE_URL?",
    ]


def test_unknown_override_is_a_problem() -> None:
    assert problems(poll_second=3) == (
        "DATAHUB_POLL_SECOND is not a setting; did you mean DATAHUB_POLL_SECONDS?",
    )


def test_secret_variables_in_the_spelling_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("datahub_Token", CANARY)
    names = ("API_KEY", "API_SECRET", "API_SECRET_PREVIOUS", "TOKEN", "PROXY")
    urls = ("BROKER_URL", "STORE_URL")
    ours = {*(f"DATAHUB_{name}" for name in names + urls), "datahub_Token"}
    signals = ("", "TRACES_", "METRICS_", "LOGS_")
    collector = {f"OTEL_EXPORTER_OTLP_{signal}HEADERS" for signal in signals}
    assert secret_variables() == ours | collector


def test_secrets_never_show(secrets_dir: Path) -> None:
    (secrets_dir / "DATAHUB_API_SECRET").write_text(CANARY, "utf-8")
    given = {
        "api_key": CANARY,
        "api_secret_previous": CANARY,
        "token": CANARY,
        "proxy": f"http://u:{CANARY}@localhost",
        "broker_url": f"amqp://u:{CANARY}@localhost",
        "store_url": f"redis://:{CANARY}@localhost",
        "config": CANARY,
    }
    settings = load_settings(**given)
    assert CANARY not in f"{settings!r} {settings}"
    assert CANARY not in "\n".join(problems(**given, engine="ray", base_url="x"))
    with pytest.raises(ValidationError) as caught:
        Settings(token=f"{CANARY} {CANARY}", base_url=f"http://u:{CANARY}@h")
    assert CANARY not in f"{caught.value!r}"


def test_settings_cannot_be_changed() -> None:
    settings = Settings(base_url="https://datahub.example.com")
    with pytest.raises(ValidationError):
        settings.base_url = None  # type: ignore[misc]  # that it is refused is the point
    with pytest.raises(ValidationError):
        settings.transfer.concurrency = 1  # type: ignore[misc]  # as above


def test_importing_the_package_does_not_load_the_settings() -> None:
    code = "import sys, plugin_framework; sys.exit('plugin_framework.settings' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
