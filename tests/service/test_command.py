"""What keeps ``serve`` from serving is one line, and exit code 2."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.service.calling import ServiceProcess
from tests.service.hub import Hub


def said_instead(service: ServiceProcess) -> str:
    """The one line of a service that does not start."""
    with pytest.raises(AssertionError):
        service.__enter__()
    assert service.process.returncode == 2
    (line,) = service.lines
    return str(line["message"])


def test_no_plugin(hub: Hub, tmp_path: Path) -> None:
    assert "which plugin?" in said_instead(ServiceProcess(tmp_path, hub.url))


def test_a_plugin_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    assert "Missing" in said_instead(ServiceProcess(tmp_path, hub.url, "Missing"))


def test_the_same_plugin_twice(hub: Hub, tmp_path: Path) -> None:
    assert "given twice" in said_instead(ServiceProcess(tmp_path, hub.url, "Counts", "Counts"))


def test_an_address_that_is_taken(hub: Hub, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = str(taken.getsockname()[1])
        service = ServiceProcess(tmp_path, hub.url, "Counts", "--host", "127.0.0.2", port=port)
        assert "already in use" in said_instead(service)


def test_an_address_that_is_none(hub: Hub, tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path, hub.url, "Counts", "--host", "no such host")
    assert "no such host" in said_instead(service)


def test_no_datahub(tmp_path: Path) -> None:
    assert "DATAHUB_BASE_URL" in said_instead(ServiceProcess(tmp_path, "", "Counts"))


@pytest.mark.parametrize(
    ("missing", "url", "extra"),
    [
        ("celery", "redis://127.0.0.1:1", "celery"),
        ("psycopg", "postgresql://127.0.0.1:1/none", "postgres"),
        ("redis", "redis://127.0.0.1:1", "redis"),
    ],
)
def test_a_library_of_a_cluster_that_is_missing(
    hub: Hub, tmp_path: Path, missing: str, url: str, extra: str
) -> None:
    # Python's own start finds this first: of that library there is nothing.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util, sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: (\n"
        f"    None if name == {missing!r} else find(name, package)\n"
        ")\n"
    )
    given = {
        "DATAHUB_ENGINE": "celery",
        "DATAHUB_BROKER_URL": "amqp://127.0.0.1:1",
        "DATAHUB_STORE_URL": url,
        "PYTHONPATH": str(tmp_path),
    }
    said = said_instead(ServiceProcess(tmp_path, hub.url, "Counts", **given))
    assert f"pip install 'datahub-plugin-framework[{extra}]'" in said


def test_the_plugin_may_be_a_setting_and_ctrl_c_ends_it(hub: Hub, tmp_path: Path) -> None:
    plugin = "tests.service.plugins:Counts"
    with ServiceProcess(tmp_path, hub.url, DATAHUB_PLUGIN=plugin) as service:
        assert service.call.create("by setting", {}).fate == (200, 0)
        hub.told("by setting", 1, 3)
        assert service.stop(signal.SIGINT) == 0
