"""Runs commands whose spans go to the console, and reads them there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.calling import Ended, call

PLUGINS = "tests.telemetry.plugins"
CONSOLE = {"OTEL_TRACES_EXPORTER": "console"}


@dataclass(frozen=True, slots=True)
class Spans:
    """What one command told of itself."""

    ended: Ended

    @property
    def all(self) -> list[dict[str, Any]]:
        return list(self._found())

    def _found(self) -> Iterator[dict[str, Any]]:
        for line in self.ended.log:
            if line["logger"] == "datahub.output" and line["message"].startswith('{"name"'):
                yield json.loads(line["message"])

    def one(self, name: str, **attributes: Any) -> dict[str, Any]:
        """The span of that name and these attributes, of which there is one."""
        (found,) = [
            span
            for span in self.all
            if span["name"] == name and attributes.items() <= span["attributes"].items()
        ]
        return found


def identity(span: dict[str, Any]) -> tuple[str, str]:
    """The ids of its trace and its own, as a ``traceparent`` has them."""
    context = span["context"]
    return context["trace_id"].removeprefix("0x"), context["span_id"].removeprefix("0x")


def run_here(plugin: str, tmp_path: Path, **env: str) -> Spans:
    """Run a plugin on a small file, with an embedded Datahub."""
    (tmp_path / "given.txt").write_text("some words\n")
    where = ("--local", "given.txt", "--out", "out")
    return Spans(call("run", f"{PLUGINS}:{plugin}", *where, cwd=tmp_path, env={**CONSOLE, **env}))
