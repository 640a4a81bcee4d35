"""The service's own description of itself is true."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.service.calling import ROOT, ServiceProcess
from tests.service.hub import Hub

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))


def test_schemathesis_finds_nothing(hub: Hub, tmp_path: Path) -> None:
    fast = {"DATAHUB_ISOLATION": "thread", "DATAHUB_MAX_QUEUE": "100000"}
    with ServiceProcess(tmp_path / "state", hub.url, "Anything", **fast) as service:
        found = subprocess.run(
            [
                *(SCHEMATHESIS, "run", f"{service.url}/openapi.json", "--checks", "all"),
                *("--max-examples", "15", "--seed", "1", "--no-color"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.service.schemathesis_hooks",
                "PYTHONPATH": str(ROOT),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stdout + found.stderr
        assert [line for line in service.lines if "traceback" in line] == []


def test_the_config_is_described_as_the_plugin_has_it(hub: Hub, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, hub.url, "Counts") as service:
        document = service.call.send("GET", "/openapi.json", b"", {}).body
    create = document["paths"]["/api/plugin/create_task"]["post"]
    body = create["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["config"]["properties"]["size"]["minimum"] == 1
    assert "/api/plugin/payment" not in document["paths"]
