"""A password of which some would be taken for host, port or path: refused, and not shown."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from plugin_framework.errors import Code, ConfigurationError, SettingsError
from plugin_framework.protocol.transport import chosen_proxy
from plugin_framework.settings import load_settings
from tests.setting_examples import CANARY

ENCODED = "percent-encoded: @ as %40, / as %2F"

HALF_READ = [
    ("BROKER_URL", f"amqp://datahub:p@{CANARY}/w@127.0.0.1:5672/datahub"),
    ("BROKER_URL", f"amqp://datahub:12/{CANARY}@127.0.0.1:5672/datahub"),
    ("BROKER_URL", f"amqps://datahub:{CANARY}@p@127.0.0.1/datahub"),
    ("STORE_URL", f"postgresql://datahub:p@{CANARY}/w@127.0.0.1:5432/datahub"),
    ("STORE_URL", f"postgresql://datahub:p@{CANARY}@127.0.0.1:5432/datahub"),
    ("STORE_URL", f"postgresql://datahub:12?{CANARY}@127.0.0.1:5432/datahub"),
    ("STORE_URL", f"redis://:p@{CANARY}/w@127.0.0.1:6379/0"),
    ("STORE_URL", f"redis://:12#{CANARY}@127.0.0.1:6379/0"),
    ("PROXY", f"http://u:p@{CANARY}/w@127.0.0.1:3128"),
    ("PROXY", f"http://u:12/{CANARY}@127.0.0.1:3128"),
    ("BASE_URL", f"https://u:12/{CANARY}@127.0.0.1"),
]


@pytest.mark.parametrize(("name", "url"), HALF_READ)
def test_password_that_is_not_encoded_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(f"DATAHUB_{name}", url)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    (line,) = caught.value.problems
    assert line.startswith(f"DATAHUB_{name}: expected ")
    assert (ENCODED if name != "BASE_URL" else "without user name, password") in line
    assert CANARY not in line


@pytest.mark.parametrize(
    "url",
    [
        "amqp://u:p%40q%2Fw@localhost/%2F",
        "amqp://u:a:b@localhost//",
        "postgresql:///d?host=/run/postgresql&user=u%40d",
    ],
)
def test_encoded_password_is_taken(url: str) -> None:
    name = "store_url" if url.startswith("postgresql") else "broker_url"
    assert getattr(load_settings(**{name: url}), name).get_secret_value() == url


def test_proxy_of_the_environment_is_held_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy", "no_proxy", "NO_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://u:p@{CANARY}/w@127.0.0.1:3128")
    with pytest.raises(ConfigurationError, match=ENCODED) as caught:
        chosen_proxy("env", httpx.URL("https://datahub.example.com"))
    assert caught.value.code == Code.PROXY_WRONG
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("url", [url for name, url in HALF_READ if name == "BROKER_URL"])
def test_worker_ends_without_showing_it(tmp_path: Path, url: str) -> None:
    surroundings = {**os.environ, "DATAHUB_BROKER_URL": url, "DATAHUB_ENGINE": "celery"}
    ended = subprocess.run(
        [sys.executable, "-m", "plugin_framework", "worker", "x:Y"],
        env={**surroundings, "DATAHUB_BASE_URL": "http://127.0.0.1:9"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "[DH-102]" in ended.stderr
    assert CANARY not in ended.stdout + ended.stderr
