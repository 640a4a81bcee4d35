"""Plugins and services over ``/local/``, with the real service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from plugin_framework.emulator import Emulator
from tests.emulator.calling import eventually
from tests.emulator.local_api.calling import Local, task
from tests.service.calling import KEY, SECRET, ServiceProcess


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Local, ServiceProcess]]:
    """An emulator, and a service of two plugins that is registered there."""
    folder = tmp_path_factory.mktemp("whole")
    with (
        Emulator(state_dir=folder / "datahub", key=KEY, secret=SECRET) as emulator,
        ServiceProcess(folder / "service", emulator.url, "Anything", "Counts") as service,
    ):
        local = Local(emulator.url)
        assert local.post("services", {"url": service.url}).status == 200
        yield local, service


@pytest.fixture
def local(whole: tuple[Local, ServiceProcess]) -> Local:
    return whole[0]


@pytest.fixture
def service(whole: tuple[Local, ServiceProcess]) -> ServiceProcess:
    return whole[1]


def test_the_plugins_of_a_service_are_listed(local: Local, service: ServiceProcess) -> None:
    listed = {plugin["name"]: plugin for plugin in local.json("plugins")}
    assert listed["Counts"] == {
        "name": "Counts",
        "version": "1.2.3",
        "service": service.url,
        "base": f"{service.url}/Counts",
        "healthy": True,
        "problem": None,
    }
    assert set(listed) == {"Anything", "Counts"}


def test_a_task_is_run_by_its_plugin(local: Local) -> None:
    created = local.post("tasks", {"plugin": "Counts", "config": {"size": 3}})
    assert created.status == 201
    path = task(created.json["subtask_id"])
    assert eventually(lambda: bool(local.json(path)["status"] == 3), 60)
    ended = local.json(path)
    assert ended["result"]["total_counts"] == 3
    assert (ended["plugin"], ended["dispatch"], ended["config"]) == (
        *("Counts", "accepted"),
        {"size": 3},
    )
    assert ended["created_at"] <= ended["started_at"] <= ended["ended_at"]


def test_ids_of_ones_own_are_kept(local: Local) -> None:
    body = {
        "plugin": "Anything",
        "subtask_id": "mine <1>",
        "task_id": "whole",
        "config": {"a": [1]},
    }
    assert local.post("tasks", body).json["subtask_id"] == "mine <1>"
    assert eventually(lambda: bool(local.json(task("mine <1>"))["status"] == 3), 60)
    assert local.json(task("mine <1>", "/result"))["given"] == {"a": [1]}
    assert local.refusal(local.post("tasks", body))[0] == 409


def test_a_config_that_the_plugin_refuses_is_why_it_failed(local: Local) -> None:
    created = local.post("tasks", {"plugin": "Counts", "config": {"size": 0}}).json
    path = task(created["subtask_id"])
    assert eventually(lambda: bool(local.json(path)["status"] == 5), 60)
    assert local.json(path)["dispatch"] == "refused"
    assert "size" in local.json(path)["reason"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"plugin": 1}, 400),
        ({"plugin": "none such"}, 404),
        ({"plugin": "Counts", "input": "none such"}, 404),
        ({"plugin": "Counts", "config": []}, 400),
        ({"plugin": "Counts", "subtask_id": "a/b"}, 400),
        ({"plugin": "Counts", "subtask_id": ""}, 400),
        ({"plugin": "Counts", "task_id": "x" * 201}, 400),
        ({"plugin": "Counts", "conifg": {}}, 400),
        (b'{"plugin": "Counts", "config": {"a": NaN}}', 400),
        (b'{"plugin": "Counts", "plugin": "Counts"}', 400),
        (b"[]", 400),
    ],
)
def test_what_is_no_task_is_refused(local: Local, body: object, status: int) -> None:
    before = local.json("tasks")["total"]
    assert local.refusal(local.post("tasks", body))[0] == status
    assert local.json("tasks")["total"] == before


RUNS = "globalThis.datahubPluginRuns = true;\n"


@pytest.mark.parametrize(
    ("form", "begins", "ends"),
    [
        (
            None,
            RUNS + "export default (function () {\n",
            "}).call(globalThis) ?? globalThis.datahubPluginConfig;",
        ),
        (
            "body",
            RUNS + "export default (function () {\n",
            "}).call(globalThis) ?? globalThis.datahubPluginConfig;",
        ),
        (
            "expression",
            RUNS + "export default (function () { return (\n",
            "\n); }).call(globalThis) ?? globalThis.datahubPluginConfig;",
        ),
        ("module", "", ""),
    ],
)
def test_the_script_comes_as_a_module(
    local: Local, service: ServiceProcess, form: str | None, begins: str, ends: str
) -> None:
    script = service.call.send("GET", "/Counts/config.js", b"", {}).raw.decode()
    answer = local.get("plugins/Counts/config.js", **({"as_": form} if form else {}))
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    text = answer.body.decode()
    assert text.startswith(begins)
    assert text.rstrip("\n").endswith(ends)
    assert script in text


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("plugins/Counts/config.js", {"as_": "html"}, 400),
        ("plugins/none/config.js", {}, 404),
        ("plugins/..%2f..%2fetc/config.js", {}, 404),
    ],
)
def test_other_scripts_are_refused(
    local: Local, path: str, query: dict[str, str], status: int
) -> None:
    assert local.refusal(local.get(path, **query))[0] == status


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("", 400),
        ("nonsense", 400),
        ("file:///etc/passwd", 400),
        ("http://127.0.0.1:1", 502),
        ("http://169.254.169.254/latest", 400),
        (1, 400),
        (None, 400),
    ],
)
def test_what_is_no_service_is_refused(local: Local, url: object, status: int) -> None:
    known = local.json("plugins")
    assert local.refusal(local.post("services", {"url": url}))[0] == status
    assert local.json("plugins") == known


def test_a_service_can_be_forgotten(local: Local, service: ServiceProcess) -> None:
    assert local.send("DELETE", "services", url=service.url).status == 200
    assert local.json("plugins") == []
    assert local.refusal(local.send("DELETE", "services", url=service.url))[0] == 404
    assert local.refusal(local.send("DELETE", "services"))[0] == 400
    assert len(local.post("services", {"url": service.url}).json) == 2


def test_services_named_at_the_start_are_registered(
    service: ServiceProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = tmp_path_factory.mktemp("started")
    with Emulator(state_dir=state, key=KEY, secret=SECRET, services=[service.url]) as emulator:
        local = Local(emulator.url)
        assert eventually(lambda: len(local.json("plugins")) == 2)
