"""Each example plugin, run by the command on real data, judged by the strict server."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conformance.real_data import flights, pictures
from tests.strict_datahub import StrictDatahub

KEY, SECRET, TOKEN = "conformance-key", "conformance-secret", "conformance-token"
SIGNED = {"DATAHUB_API_KEY": KEY, "DATAHUB_API_SECRET": SECRET}


def run(hub: StrictDatahub, plugin: str, state: Path, **settings: str) -> dict[str, Any]:
    """Run the command to its end; its outcome."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("DATAHUB_")}
    finished = subprocess.run(
        [sys.executable, "-m", "plugin_framework", "run", plugin, "--subtask-id", "strict"],
        env={
            **inherited,
            "DATAHUB_BASE_URL": hub.url,
            "DATAHUB_STATE_DIR": str(state),
            "DATAHUB_HEARTBEAT_SECONDS": "0.02",
            "DATAHUB_POLL_SECONDS": "0.2",
            **settings,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    outcome: dict[str, Any] = json.loads(finished.stdout)
    return outcome


def judged(hub: StrictDatahub, outcome: dict[str, Any]) -> None:
    """What holds for every run."""
    assert hub.violations == []
    assert hub.statuses == [1, 3]
    assert hub.result == outcome["result"]
    assert outcome["delivered"] is True
    assert {output["name"] for output in outcome["outputs"]} == set(hub.outputs)
    beats = [process for _, process in hub.heartbeats]
    assert len(beats) >= 2
    assert beats == sorted(beats)


def read(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def profiled(hub: StrictDatahub) -> None:
    profile = json.loads(read(hub.outputs["profile.json"]))
    assert profile["rows"] == 336_776
    assert len(profile["columns"]) == 19
    assert read(hub.outputs["profile.png"]).startswith(b"\x89PNG")


def converted(hub: StrictDatahub) -> None:
    (content,) = hub.outputs.values()
    table = pq.ParquetFile(io.BytesIO(read(content)))
    assert table.metadata.num_rows == 336_776


def shrunk(hub: StrictDatahub) -> None:
    with zipfile.ZipFile(io.BytesIO(read(hub.outputs["thumbnails.zip"]))) as archive:
        names = archive.namelist()
    assert hub.result is not None
    assert len(names) == hub.result["success_counts"] >= 3
    assert hub.result["failed_counts"] == 1


def test_a_file_in_many_parts_arrives_whole(tmp_path: Path) -> None:
    source = flights(tmp_path)
    settings = {**SIGNED, "DATAHUB_TRANSFER__CHUNK_SIZE": "5MiB"}
    with StrictDatahub(
        "strict", input_file=source, input_name=source.name, key=KEY, secret=SECRET
    ) as hub:
        outcome = run(hub, "benchmarks.plugins:Copy", tmp_path / "state", **settings)
        judged(hub, outcome)
        assert read(hub.outputs["copy.bin"]) == source.read_bytes()
        assert sum(call.method == "PUT" for call in hub.storage.calls) == 6
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert outcome["outputs"] == [
        {"name": "copy.bin", "size": source.stat().st_size, "sha256": digest}
    ]


@pytest.mark.parametrize(
    ("plugin", "make_input", "check", "options", "settings"),
    [
        ("csv-profile", flights, profiled, {"key": KEY, "secret": SECRET}, SIGNED),
        (
            "parquet-convert",
            flights,
            converted,
            {"part_urls": "strings", "fields": "joined"},
            {
                "DATAHUB_UPLOAD_FIELDS": "joined",
                "DATAHUB_TRANSFER__CHUNK_SIZE": "5MiB",
            },
        ),
        ("image-thumbnails", pictures, shrunk, {"token": TOKEN}, {"DATAHUB_TOKEN": TOKEN}),
    ],
)
def test_a_run_of_each_example_breaks_no_rule(
    plugin: str,
    make_input: Callable[[Path], Path],
    check: Callable[[StrictDatahub], None],
    options: dict[str, Any],
    settings: dict[str, str],
    tmp_path: Path,
) -> None:
    source = make_input(tmp_path)
    with StrictDatahub("strict", input_file=source, input_name=source.name, **options) as hub:
        outcome = run(hub, plugin, tmp_path / "state", **settings)
        judged(hub, outcome)
        check(hub)
