"""All of the emulator's state, for the server and for whoever looks on from another process."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.meter import Meter
from plugin_framework.emulator.objects import Objects
from plugin_framework.emulator.reports import Reports
from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.subtasks import Event, Subtask, events_of, find, find_open, record
from plugin_framework.emulator.uploads import Uploads
from plugin_framework.protocol.models import MINIMUM_PART_SIZE, TaskStatus


@dataclass(frozen=True, slots=True)
class Output:
    """A completed upload: the plugin's ``name`` for it (data, no path), and where its bytes are."""

    name: str
    path: Path
    size: int


class Store:
    """A state directory. Several processes may have it open; one of them may be the server.

    ``minimum_part``: bytes that all parts but the last must have, when completed by this store.
    """

    def __init__(self, state_dir: Path, *, minimum_part: int = MINIMUM_PART_SIZE) -> None:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._database = Database(state_dir / "datahub.sqlite3")
        self.objects = Objects(self._database, state_dir / "objects")
        self.uploads = Uploads(self._database, self.objects, minimum_part)
        self.reports = Reports(self._database)
        self.meter = Meter(self._database)

    def close(self) -> None:
        """Let go of the files."""
        self._database.close()

    @property
    def storage_secret(self) -> str:
        """What this directory's presigned URLs are signed with."""
        return self._database.secret("storage")

    def create_subtask(
        self,
        subtask_id: str,
        *,
        task_id: str | None = None,
        input: Path | None = None,  # noqa: A002 - what plugins and the command call it
        file_name: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Subtask:
        """Create a subtask in status 0. The input is linked, not copied.

        Raises:
            ValueError: there is one of that id already.
            OSError: the input cannot be found.
        """
        key = None if input is None else secrets.token_hex(16)
        blob = None if input is None else self.objects.link(input)
        name = file_name if file_name or input is None else input.name
        with self._database.transaction() as sql:
            if sql.execute("SELECT 1 FROM subtasks WHERE subtask_id = ?", (subtask_id,)).fetchone():
                raise ValueError(f"there is a subtask {subtask_id!r} already")
            sql.execute(
                "INSERT INTO subtasks (subtask_id, task_id, config, input_key, input_name,"
                " created_at) VALUES (?, ?, ?, ?, ?, ?)",
                (subtask_id, task_id, json.dumps(dict(config or {})), key, name, time.time()),
            )
            if key is not None:
                sql.execute("INSERT INTO objects (key, blob) VALUES (?, ?)", (key, blob))
            return find(sql, subtask_id)

    def subtask(self, subtask_id: str) -> Subtask:
        """The subtask as it is now.

        Raises:
            Refused: there is none.
        """
        with self._database.transaction() as sql:
            return find(sql, subtask_id)

    def subtasks(self) -> list[Subtask]:
        """All subtasks, oldest first."""
        with self._database.transaction() as sql:
            rows = sql.execute("SELECT * FROM subtasks ORDER BY number").fetchall()
        return [Subtask.of(row) for row in rows]

    def set_status(self, subtask_id: str, status: TaskStatus) -> None:
        """Ask for a status as an operator does: 1 resume, 2 pause, 4 cancel.

        notify says it from now on; the subtask's own status changes when the plugin confirms.

        Raises:
            Refused: unknown or ended subtask, or a status nobody can ask for.
        """
        if status not in {TaskStatus.RUNNING, TaskStatus.PAUSED, TaskStatus.CANCELLED}:
            raise Refused(f"an operator cannot ask for status {status:d}")
        with self._database.transaction() as sql:
            subtask = find_open(sql, subtask_id)
            wanted = None if subtask.status is status else status
            sql.execute(
                "UPDATE subtasks SET requested = ? WHERE subtask_id = ?", (wanted, subtask_id)
            )
            record(sql, subtask_id, "operator", {"status": int(status)})

    def notified_status(self, task_id: str) -> TaskStatus:
        """What notify answers. The id may be a subtask's, or a task's: its newest subtask then.

        Raises:
            Refused: neither.
        """
        with self._database.transaction() as sql:
            row = sql.execute(
                "SELECT * FROM subtasks WHERE subtask_id = ? OR task_id = ?"
                " ORDER BY subtask_id = ? DESC, number DESC",
                (task_id, task_id, task_id),
            ).fetchone()
        if row is None:
            raise Refused("unknown task")
        subtask = Subtask.of(row)
        return subtask.status if subtask.requested is None else subtask.requested

    def input_of(self, subtask_id: str) -> tuple[str, str]:
        """The input's key and file name.

        Raises:
            Refused: unknown subtask, or it has no input.
        """
        with self._database.transaction() as sql:
            subtask = find(sql, subtask_id)
            if subtask.input_key is None or subtask.input_name is None:
                raise Refused("the subtask has no input file")
            record(sql, subtask_id, "download", {"name": subtask.input_name})
        return subtask.input_key, subtask.input_name

    def outputs(self, subtask_id: str) -> list[Output]:
        """The completed uploads; of those with the same name the latest."""
        with self._database.transaction() as sql:
            rows = sql.execute(
                "SELECT name, blob, objects.size FROM uploads JOIN objects USING (key)"
                " WHERE subtask_id = ? AND completed IS NOT NULL ORDER BY completed",
                (subtask_id,),
            ).fetchall()
        latest = {
            row["name"]: Output(row["name"], self.objects.path(row["blob"]), row["size"])
            for row in rows
        }
        return list(latest.values())

    def events(self, subtask_id: str) -> list[Event]:
        """Everything Datahub was told and asked for, oldest first; what storage saw is left out."""
        with self._database.transaction() as sql:
            return events_of(sql, subtask_id)
