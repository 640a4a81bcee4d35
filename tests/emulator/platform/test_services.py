"""Registering services, finding out what they have, and reading a plugin's form."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from plugin_framework.emulator import Refused, Store
from plugin_framework.emulator.platform import Platform, Plugin, watch
from plugin_framework.emulator.platform import platform as platform_module
from tests.emulator.calling import eventually
from tests.emulator.platform.conftest import CREDENTIALS
from tests.emulator.platform.services import DEADLINE, Reply, ScriptedService, said

NO_MORE_FILES = """
import pathlib, resource, sys
from plugin_framework.emulator import Store
from plugin_framework.emulator.platform import Platform
platform = Platform(Store(pathlib.Path(sys.argv[1])), None)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
platform.start()
"""


def test_what_keeps_it_from_beginning_is_raised(tmp_path: Path) -> None:
    """Nobody would hear of it in a thread, and whoever waits for its begin would wait for ever."""
    command = [sys.executable, "-c", NO_MORE_FILES, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert ended.returncode == 1
    assert "OSError: [Errno 24] Too many open files" in ended.stderr


def test_a_service_with_one_plugin(platform: Platform, service: ScriptedService) -> None:
    plugin = Plugin("scripted", "1.0", service.url, service.url, healthy=True)
    assert platform.add_service(f" {service.url}/ ") == [plugin]
    assert platform.plugins() == [plugin]
    asked = service.sent[0]
    assert (asked.path, list(asked.content)) == ("/api/plugin/health", ["timestamp"])


def test_a_service_with_several_plugins(platform: Platform, service: ScriptedService) -> None:
    service.health = service.healthy("b c", "a")
    found = [(plugin.name, plugin.base) for plugin in platform.add_service(service.url)]
    assert found == [("a", f"{service.url}/a"), ("b c", f"{service.url}/b%20c")]
    service.health = service.healthy("a")
    platform.add_service(service.url)
    assert [(plugin.name, plugin.base) for plugin in platform.plugins()] == [("a", service.url)]


@pytest.fixture(autouse=True)
def checks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "HEALTH_SECONDS", 0.5)


@pytest.mark.parametrize(
    "url",
    [
        "", "service", "ftp://127.0.0.1/", "http://", "http://[", "http://127.0.0.1:x",
        "http://user:secret@127.0.0.1/", "http://127.0.0.1/?a=b", "http://127.0.0.1/#a",
        "http://192.168.1.1/", "http://169.254.169.254/", "http://example.org",
        "http://127.0.0.1.example.org", "http://localhost.example.org", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_one(platform: Platform, url: str) -> None:
    with pytest.raises(Refused, match="the address of a service") as refused:
        platform.add_service(url)
    assert refused.value.api_code == 400
    assert "secret" not in refused.value.message
    assert platform.services() == {}


def test_beyond_this_machine_it_is_https(store: Store) -> None:
    with Platform(store, CREDENTIALS, allow_remote=True) as platform:
        with pytest.raises(Refused, match="https outside"):
            platform.expect_service("http://plugins.example.org")
        platform.expect_service("https://plugins.example.org/x/")
        assert list(platform.services()) == ["https://plugins.example.org/x"]
        platform.remove_service("https://plugins.example.org/x/")
        assert platform.services() == {}


@pytest.mark.parametrize(
    ("health", "problem"),
    [
        (Reply(body=b"<html>"), "answers HTTP 200"),
        (Reply(404, b"<html>"), "answers HTTP 404"),
        (said(1, "out of order"), "answers 1: out of order"),
        (said(401, "wrong signature", status=401), "answers HTTP 401: wrong signature"),
        (Reply(302, b"", {"Location": "/"}), "answers HTTP 302"),
        (Reply(body=b'{"code": 0, "plugin": {}}'), "names no plugin_id"),
        (Reply(body=b'{"code": 0, "plugin": {"plugin_id": "a/b"}}'), "names no plugin_id"),
        (Reply(body=b'{"code": 0, "plugins": [1]}'), "names no plugin_id"),
        (Reply(body=None), "no HTTP answer"),
    ],
)
def test_what_is_no_plugin_service(
    platform: Platform, service: ScriptedService, health: Reply, problem: str
) -> None:
    service.health = health
    with pytest.raises(Refused, match=problem) as refused:
        platform.add_service(service.url)
    assert refused.value.api_code == 502
    assert platform.services() == {}


def test_another_secret_is_refused_by_the_service(store: Store, service: ScriptedService) -> None:
    with Platform(store, None) as platform, pytest.raises(Refused, match="wrong signature"):
        platform.add_service(service.url)
    assert service.unsigned
    assert service.sent == []


def test_one_that_is_expected_is_found_when_it_is_there(platform: Platform) -> None:
    with ScriptedService() as service:
        port = service.port
    platform.expect_service(service.url)
    assert eventually(lambda: "reached" in str(platform.services()[service.url]))
    assert platform.plugins() == []
    with ScriptedService(port=port):
        assert eventually(lambda: [plugin.healthy for plugin in platform.plugins()] == [True])
    assert eventually(lambda: [plugin.healthy for plugin in platform.plugins()] == [False])
    assert "reached" in str(platform.plugins()[0].problem)


def test_one_that_drains_says_so(platform: Platform, service: ScriptedService) -> None:
    given = json.loads(service.health.body or b"")
    service.health = Reply(body=json.dumps({**given, "status": "draining"}).encode())
    (plugin,) = platform.add_service(service.url)
    assert (plugin.healthy, plugin.problem) == (False, "draining")


def test_the_service_added_last_has_the_plugin(platform: Platform) -> None:
    with ScriptedService() as first, ScriptedService() as second:
        platform.add_service(first.url)
        platform.add_service(second.url)
        checked = len(first.sent)
        first.wait_for(lambda: len(first.sent) > checked)
        assert [plugin.service for plugin in platform.plugins()] == [second.url]
        platform.remove_service(second.url)
        assert eventually(lambda: [one.service for one in platform.plugins()] == [first.url])


def test_services_outlive_a_restart(store: Store, service: ScriptedService) -> None:
    with Platform(store, CREDENTIALS) as before:
        before.add_service(service.url)
    with Platform(store, CREDENTIALS) as after:
        assert [plugin.name for plugin in after.plugins()] == ["scripted"]
        assert eventually(lambda: after.plugins()[0].healthy)


def test_a_service_that_hangs_holds_up_no_check_of_another(
    store: Store, platform: Platform, registered: ScriptedService
) -> None:
    free = threading.Event()
    with ScriptedService("other") as other:
        platform.add_service(other.url)
        other.health = Reply(hold=free, body=None)
        with ScriptedService("third") as third:
            assert [plugin.name for plugin in platform.add_service(third.url)] == ["third"]
        free.set()


def test_the_form_is_fetched_as_it_is(platform: Platform, registered: ScriptedService) -> None:
    text = "({title: '\u00fc'})"
    registered.script = Reply(body=text.encode())
    assert platform.script("scripted") == text
    assert registered.sent[-1].path == "/config.js"
    assert registered.unsigned == []


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (Reply(404, b""), "HTTP 404"),
        (Reply(302, b"", {"Location": "/other.js"}), "HTTP 302"),
        (Reply(body=b"x" * (platform_module.SCRIPT_LIMIT + 1)), "more than 2097152 bytes"),
        (Reply(body=b"\xff"), "not UTF-8"),
        (Reply(body=None), "no HTTP answer"),
    ],
)
def test_a_form_that_cannot_be_used(
    platform: Platform, registered: ScriptedService, script: Reply, problem: str
) -> None:
    registered.script = script
    with pytest.raises(Refused, match=problem):
        platform.script("scripted")
    with pytest.raises(Refused, match="no plugin nobody"):
        platform.script("nobody")


def test_a_form_that_trickles_is_given_up(
    platform: Platform, registered: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    registered.script = Reply(hold=free)
    monkeypatch.setattr(platform_module, "SCRIPT_SECONDS", 0.2)
    with pytest.raises(Refused, match=r"no answer within 0\.2 s"):
        platform.script("scripted")
    free.set()


def test_the_scripted_service_refuses_what_is_not_signed(service: ScriptedService) -> None:
    """Else the tests above would show less than they seem to."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=DEADLINE)
    headers = {"D-API-KEY": "plugin-key", "D-TIMESTAMP": "1", "D-SIGNATURE": "0" * 64}
    connection.request("GET", "/api/plugin/health", headers=headers)
    assert connection.getresponse().status == 401
    connection.close()
