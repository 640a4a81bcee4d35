"""What earlier runs left undelivered goes out at the next start, whatever that runs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from plugin_framework.emulator import Emulator
from plugin_framework.engines.local import run_task
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.settings import load_settings
from tests.lifecycle import plugins
from tests.lifecycle.running import COMMAND, ROOT


def test_another_run_delivers_what_was_kept(tmp_path: Path) -> None:
    folder, keys = tmp_path / "datahub", {"api_key": "k", "api_secret": "s"}
    with Emulator(state_dir=folder, key="k", secret="s") as datahub:
        for name in ("first", "second"):
            datahub.store.create_subtask(name)
        settings = load_settings(
            base_url=datahub.url, state_dir=tmp_path / "state", delivery_deadline=0.5, **keys
        )
        plugins.Leaves.datahub = datahub
        outcome = run_task(plugins.Leaves, subtask_id="first", settings=settings)
        assert outcome.exit_code == 75
    with Emulator(state_dir=folder, key="k", secret="s") as datahub:
        finished = subprocess.run(
            [COMMAND, "run", f"{plugins.__name__}:Quick", "--subtask-id", "second"],
            env={
                **os.environ,
                "DATAHUB_BASE_URL": datahub.url,
                "DATAHUB_API_KEY": "k",
                "DATAHUB_API_SECRET": "s",
                "DATAHUB_STATE_DIR": str(tmp_path / "state"),
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        assert json.loads(finished.stdout)["subtask_id"] == "second"
        for name in ("first", "second"):
            assert datahub.store.subtask(name).status is TaskStatus.COMPLETED
        assert datahub.store.subtask("first").result == {"kept": True}
