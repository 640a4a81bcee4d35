"""A supervisor in a process of its own, which may be killed: runs one attempt at a subtask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from plugin_framework.engines.local import LocalEngine
from plugin_framework.hidden import hide
from plugin_framework.plugin.loader import PluginRef
from plugin_framework.settings import Settings, without_secrets
from plugin_framework.testing.settings import local_settings

KEY = "conformance"


@dataclass(frozen=True, slots=True)
class Place:
    """The local Datahub that tasks are run against, and the folder in which they are kept."""

    url: str
    secret: str = field(repr=False)
    state_dir: str
    grace: float

    def settings(self, isolation: str = "process") -> Settings:
        """The environment's settings, but for what the rules need to be so."""
        overrides = {
            "isolation": isolation,
            "heartbeat_seconds": 0.2,
            "poll_seconds": 0.05,
            "grace_seconds": self.grace,
            "on_interrupted": "resume",
            "log_level": "INFO",
            "transfer": {"digest": "sha256"},
        }
        return local_settings(
            overrides,
            base_url=self.url,
            api_key=SecretStr(KEY),
            api_secret=SecretStr(self.secret),
            state_dir=Path(self.state_dir),
        )


def start_attempt(
    ref: PluginRef, place: Place, subtask_id: str, config: Mapping[str, Any]
) -> subprocess.Popen[str]:
    """Start the supervisor; the secret goes to it through a pipe."""
    process = subprocess.Popen(  # noqa: S603 - this module
        [sys.executable, "-P", "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env=without_secrets(os.environ),  # they are of another Datahub's
        start_new_session=True,
    )
    assert process.stdin is not None
    orders = {
        "ref": asdict(ref),
        "path": sys.path,
        "place": asdict(place),
        "subtask_id": subtask_id,
        "config": dict(config),
    }
    with process.stdin as stdin:
        stdin.write(json.dumps(orders))
    return process


def run_attempt(orders: Mapping[str, Any]) -> None:
    """Do what ``start_attempt`` was told."""
    sys.path[:] = orders["path"]
    ref = PluginRef(**orders["ref"])
    # A module that cannot be imported by its name has to be found by its file.
    plugin = ref.load() if ref.file else f"{ref.module}:{ref.attribute}"
    with LocalEngine(plugin, Place(**orders["place"]).settings()) as engine:
        engine.run(orders["subtask_id"], config=orders["config"]).execute()


if __name__ == "__main__":
    hide()
    run_attempt(json.load(sys.stdin))
