"""The emulator's own description of itself is true."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from starlette.routing import Route

from plugin_framework.emulator import Emulator, Store
from plugin_framework.emulator.api import Api
from plugin_framework.emulator.chaos import Chaos
from plugin_framework.emulator.chaos.routes import routes as chaos_routes
from plugin_framework.emulator.dialects import Bucket, dialect_named
from plugin_framework.emulator.local_api.files import Files
from plugin_framework.emulator.local_api.plugins import Plugins
from plugin_framework.emulator.local_api.tasks import Tasks
from plugin_framework.emulator.platform import Platform
from plugin_framework.emulator.urls import LocalUrls
from tests.emulator.calling import Plugin, send
from tests.emulator.local_api.calling import Local, task
from tests.service.calling import ROOT

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
ENDLESS = "/local/stream"
UNTRIED = (ENDLESS, "/local/chaos", "/local/services")


@pytest.fixture
def document(emulator: Emulator) -> dict[str, Any]:
    return send("GET", emulator.url + "/openapi.json").json


def test_it_names_every_call_there_is(document: dict[str, Any], tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        platform = Platform(store, None)
        urls = LocalUrls(dialect_named("s3", Bucket("http://127.0.0.1/b"), "key", "secret"), 1)
        routes = [
            *Api(store, urls, credentials=None).routes(),
            *Files(store).routes(),
            *Tasks(store, platform).routes(),
            *Plugins(platform).routes(),
            *chaos_routes(Chaos()),
        ]
    there = {
        (route.path_format, method.lower())
        for route in routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = {(path, method) for path, calls in document["paths"].items() for method in calls}
    assert described == there | {(path, "get") for path in ("/local/info", ENDLESS)}
    assert document["openapi"] == "3.1.0"


def test_what_is_described_is_there(local: Local, document: dict[str, Any]) -> None:
    """No path of it is answered as one that is not there at all."""
    for path, calls in document["paths"].items():
        if path == ENDLESS:
            continue
        filled = path.format(id="none", number=1, name="none")
        for method in calls:
            answer = send(method.upper(), local.url + filled, b"", [("X-Datahub-Local", "1")])
            assert answer.status != 405, (method, path)
            assert b"Not Found" not in answer.body, (method, path)


def test_every_change_has_to_be_marked(document: dict[str, Any]) -> None:
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            names = {each["name"] for each in call.get("parameters", []) if each["in"] == "header"}
            is_change = path.startswith("/local/") and method != "get"
            assert ("X-Datahub-Local" in names) is is_change, (method, path)


def test_whether_calls_are_signed_is_said(document: dict[str, Any], tmp_path: Path) -> None:
    notify = document["paths"]["/api/task/notify"]["get"]
    assert notify["security"] == [{"D-API-KEY": [], "D-TIMESTAMP": [], "D-SIGNATURE": []}]
    with Emulator(state_dir=tmp_path) as open_to_all:
        other = send("GET", open_to_all.url + "/openapi.json").json
    assert other["paths"]["/api/task/notify"]["get"]["security"] == []


def test_answers_are_as_described(
    local: Local, document: dict[str, Any], plugin: Plugin, source: str
) -> None:
    plugin.status(source, 1)
    plugin.beat(source)
    plugin.upload(source, b"x")
    local.post(task(source, "/logs"), [{"at": 1, "level": "I", "logger": "", "message": "m"}])
    plugin.result(source, {"total_counts": 1})
    for path in document["paths"]:
        call = document["paths"][path].get("get")
        if call is None or path == ENDLESS or not path.startswith("/local/"):
            continue
        content = call["responses"]["200"]["content"]
        if "application/json" not in content or "{name}" in path:
            continue
        schema = content["application/json"]["schema"]
        whole = {**schema, "components": document["components"]}
        answer = local.json(path.removeprefix("/local/").format(id=source))
        Draft202012Validator(whole).validate(answer)


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """All but what has no end, what would hit the test itself, and what calls other services.

    That valid data are taken cannot be asked for: a clock has to be right, and a file to be there.
    """
    with Emulator(state_dir=tmp_path / "state") as emulator:
        emulator.store.create_subtask("known")
        found = subprocess.run(
            [
                *(SCHEMATHESIS, "run", f"{emulator.url}/openapi.json", "--checks", "all"),
                *("--exclude-checks", "positive_data_acceptance", "--phases", "fuzzing"),
                *("--max-examples", "5", "--seed", "1", "--no-color"),
                *(f"--exclude-path={path}" for path in UNTRIED),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert found.returncode == 0, found.stdout + found.stderr


def test_an_id_is_none_of_the_paths_business(local: Local) -> None:
    assert local.refusal(local.get(task(str(uuid.uuid4()))))[0] == 404
