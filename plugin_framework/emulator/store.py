"""All of the emulator's state, for the server and for whoever looks on from another process."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plugin_framework.emulator import listing
from plugin_framework.emulator.backend import Backend, LocalBackend
from plugin_framework.emulator.buckets import BucketAddress, connect
from plugin_framework.emulator.chaos import Ledger
from plugin_framework.emulator.database import Database
from plugin_framework.emulator.inputs import Input, Inputs
from plugin_framework.emulator.logs import LONGEST_REASON, LogLine, add_lines, lines_of
from plugin_framework.emulator.meter import Meter
from plugin_framework.emulator.objects import Objects
from plugin_framework.emulator.parts import Parts
from plugin_framework.emulator.reports import Reports
from plugin_framework.emulator.rules import Refused
from plugin_framework.emulator.subtasks import (
    Event,
    Subtask,
    events_of,
    find,
    find_open,
    heard,
    record,
)
from plugin_framework.emulator.uploads import Uploads
from plugin_framework.protocol.models import MINIMUM_PART_SIZE, TaskStatus

if TYPE_CHECKING:
    from plugin_framework.emulator.buckets.bucket import S3Bucket

_ASKED_FOR = frozenset({TaskStatus.RUNNING, TaskStatus.PAUSED, TaskStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class Output:
    """A completed upload: the plugin's ``name`` for it (data, no path), and its object's key.

    ``number`` is its place among all completed uploads, from 1. ``file`` is where its bytes are,
    if they are here.
    """

    name: str
    key: str
    size: int
    number: int
    file: Path | None

    @property
    def path(self) -> Path:
        """Its file.

        Raises:
            ValueError: it is in a real store, where ``Store.read`` has it from.
        """
        if self.file is None:
            raise ValueError(f"the output {self.name!r} is in a real store: read it from there")
        return self.file


@dataclass(frozen=True, slots=True)
class Assignment:
    """The plugin that is to run a subtask, and the address of the service that has it."""

    plugin: str
    service: str


class Store:
    """A state directory. Several processes may have it open; one of them may be the server.

    ``minimum_part``: bytes that all parts but the last must have, when completed by this store.
    ``bucket``: where files go, in place of the directory.

    Raises:
        ConfigurationError: a newer version made the directory, or there is no client for a bucket.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        minimum_part: int = MINIMUM_PART_SIZE,
        bucket: BucketAddress | None = None,
    ) -> None:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._database = Database(state_dir / "datahub.sqlite3")
        self.objects: Objects = Objects(self._database, state_dir / "objects")
        self.parts: Parts = Parts(self._database, self.objects)
        self.bucket: S3Bucket | None = (
            None if bucket is None else self._connect(bucket, minimum_part)
        )
        self.backend: Backend = self.bucket or LocalBackend(
            self._database, self.objects, self.parts, minimum_part
        )
        self.uploads: Uploads = Uploads(self._database, self.backend)
        self.reports: Reports = Reports(self._database)
        self.inputs: Inputs = Inputs(self._database, self.backend)
        self.meter: Meter = Meter(self._database)
        self.faults: Ledger = Ledger(self._database)

    def _connect(self, address: BucketAddress, minimum_part: int) -> S3Bucket:
        client = connect(address)
        from plugin_framework.emulator.buckets.bucket import (  # noqa: PLC0415 - needs an extra
            S3Bucket,
        )

        return S3Bucket(
            client,
            address,
            database=self._database,
            objects=self.objects,
            minimum_part=minimum_part,
        )

    def close(self) -> None:
        """Let go of files and connections."""
        if self.bucket is not None:
            self.bucket.close()
        self._database.close()

    @property
    def database(self) -> Database:
        """For the parts of the server that keep something of their own."""
        return self._database

    @property
    def storage_secret(self) -> str:
        """What this directory's presigned URLs are signed with."""
        return self._database.secret("storage")

    @property
    def api_credentials(self) -> tuple[str, str]:
        """A key and a secret for the plugins of this directory, made at first use."""
        return f"local-{self._database.secret('api key')[:12]}", self._database.secret("api secret")

    def create_subtask(
        self,
        subtask_id: str,
        *,
        task_id: str | None = None,
        input: Path | str | None = None,  # noqa: A002 - what plugins and the command call it
        file_name: str | None = None,
        config: Mapping[str, Any] | None = None,
        assignment: Assignment | None = None,
    ) -> Subtask:
        """Create a subtask in status 0.

        ``input`` is a file, which is linked and not copied, or the id of one of ``inputs``. With
        an ``assignment`` its create_task waits to be sent, by the server's ``Platform``.

        Raises:
            ValueError: there is one of that id already.
            OSError: the input cannot be found.
            Refused: there is no input of that id, or a real store does not take it.
        """
        with self._database.reading() as sql:
            _check_new(sql, subtask_id)  # before the input is taken to wherever it goes
        given = self._input(input, file_name)
        plugin, service = (assignment.plugin, assignment.service) if assignment else (None, None)
        facts = {
            "subtask_id": subtask_id,
            "task_id": task_id,
            "plugin": plugin,
            "service": service,
            "dispatch": "waiting" if assignment else "none",
            "config": json.dumps(dict(config or {})),
            "input_key": given and given.key,
            "input_name": given.name if given else file_name,
            "input_size": given and given.size,
            "created_at": time.time(),
        }
        names = ", ".join(facts)
        with self._database.transaction() as sql:
            _check_new(sql, subtask_id)
            values = ", ".join(f":{name}" for name in facts)
            sql.execute(f"INSERT INTO subtasks ({names}) VALUES ({values})", facts)  # noqa: S608 - our own words alone
            if given and given.blob:
                sql.execute(
                    "INSERT INTO objects (key, blob) VALUES (?, ?)", (given.key, given.blob)
                )
            return find(sql, subtask_id)

    def _input(self, given: Path | str | None, name: str | None) -> Input | None:
        if isinstance(given, str):
            return self.inputs.find(given, name)
        if given is None:
            return None
        key = self.backend.new_key()
        blob = self.backend.take(key, given)
        return Input(key, name or given.name, given.stat().st_size, blob)

    def subtask(self, subtask_id: str) -> Subtask:
        """The subtask as it is now.

        Raises:
            Refused: there is none.
        """
        with self._database.reading() as sql:
            return find(sql, subtask_id)

    def subtasks(self) -> list[Subtask]:
        """All subtasks, oldest first."""
        with self._database.reading() as sql:
            rows = sql.execute("SELECT * FROM subtasks ORDER BY number").fetchall()
        return [Subtask.of(row) for row in rows]

    def page_of_subtasks(
        self,
        *,
        status: TaskStatus | None = None,
        before: int | None = None,
        limit: int = 50,
        search: str = "",
    ) -> listing.Page:
        """So many subtasks, newest first; ``before`` is the ``next`` of the page before.

        ``search`` is part of an id, of the plugin's name or of the input's, in any case.
        """
        with self._database.reading() as sql:
            return listing.page_of(sql, status=status, before=before, limit=limit, search=search)

    def counts(self) -> dict[TaskStatus, int]:
        """How many subtasks are in each status."""
        with self._database.reading() as sql:
            return listing.counts_of(sql)

    def changed_since(self, revision: int, limit: int = 1000) -> list[Subtask]:
        """The subtasks that have a greater revision, by revision: each once, as it is now."""
        with self._database.reading() as sql:
            return listing.changed_since(sql, revision, limit)

    @property
    def revision(self) -> int:
        """Of the latest change of any subtask; 0 where there is none."""
        with self._database.reading() as sql:
            return listing.newest_revision(sql)

    def set_status(self, subtask_id: str, status: TaskStatus) -> None:
        """Ask for a status as an operator does: 1 resume, 2 pause, 4 cancel.

        notify says it from now on; the subtask's own status changes when the plugin confirms.
        One whose create_task still waits is cancelled here and now.

        Raises:
            Refused: unknown or ended subtask, or a status nobody can ask for.
        """
        if status not in _ASKED_FOR:
            raise Refused(f"an operator cannot ask for status {status:d}")
        with self._database.transaction() as sql:
            subtask = find_open(sql, subtask_id)
            record(sql, subtask_id, "operator", {"status": int(status)})
            if status is TaskStatus.CANCELLED and subtask.dispatch == "waiting":
                cancel_waiting(sql, subtask_id)
                return
            wanted = None if subtask.status is status else status
            tell = None if subtask.service is None else status
            sql.execute(
                "UPDATE subtasks SET requested = ?, tell = ? WHERE subtask_id = ?",
                (wanted, tell, subtask_id),
            )

    def set_reason(self, subtask_id: str, reason: str) -> None:
        """Say for people why a subtask failed.

        Raises:
            Refused: there is none of that id.
        """
        with self._database.transaction() as sql:
            find(sql, subtask_id)
            sql.execute(
                "UPDATE subtasks SET reason = ? WHERE subtask_id = ?",
                (reason[:LONGEST_REASON], subtask_id),
            )

    def notified_status(self, task_id: str) -> TaskStatus:
        """What notify answers. The id may be a subtask's, or a task's: its newest subtask then.

        Raises:
            Refused: neither.
        """
        query = "SELECT COALESCE(requested, status) FROM subtasks WHERE"
        with self._database.reading() as sql:
            row = (
                sql.execute(f"{query} subtask_id = ?", (task_id,)).fetchone()
                or sql.execute(
                    f"{query} task_id = ? ORDER BY number DESC LIMIT 1", (task_id,)
                ).fetchone()
            )
        if row is None:
            raise Refused("unknown task")
        return TaskStatus(row[0])

    def input_of(self, subtask_id: str) -> tuple[str, str]:
        """The input's key and file name.

        Raises:
            Refused: unknown subtask, or it has no input.
        """
        with self._database.transaction() as sql:
            subtask = find(sql, subtask_id)
            heard(sql, subtask_id)
            if subtask.input_key is None or subtask.input_name is None:
                raise Refused("the subtask has no input file")
            record(sql, subtask_id, "download", {"name": subtask.input_name})
        return subtask.input_key, subtask.input_name

    def outputs(self, subtask_id: str) -> list[Output]:
        """The completed uploads; of those with the same name the latest."""
        with self._database.reading() as sql:
            rows = sql.execute(
                "SELECT name, key, blob, uploads.size, completed FROM uploads"
                " LEFT JOIN objects USING (key)"
                " WHERE subtask_id = ? AND completed IS NOT NULL ORDER BY completed",
                (subtask_id,),
            ).fetchall()
        latest = {
            row["name"]: Output(
                row["name"],
                row["key"],
                row["size"],
                row["completed"],
                self.objects.path(row["blob"]) if row["blob"] else None,
            )
            for row in rows
        }
        return list(latest.values())

    def read(self, key: str) -> Iterator[bytes]:
        """The bytes of an input or output, wherever they are, a block at a time.

        Raises:
            Refused: they are not there any more, or the store does not give them.
        """
        return self.backend.read(key)

    def events(self, subtask_id: str, after: int = 0, limit: int = -1) -> list[Event]:
        """What happened to it since event number ``after``, oldest first; -1: all of it.

        Of heartbeats, and of other kinds in great number, only the newest are kept.
        """
        with self._database.reading() as sql:
            return events_of(sql, subtask_id, after, limit)

    def add_event(self, subtask_id: str, kind: str, detail: Mapping[str, Any]) -> None:
        """Record something that is neither a call of the plugin's nor the operator's."""
        with self._database.transaction() as sql:
            record(sql, subtask_id, kind, detail)

    def logs(self, subtask_id: str, after: int = 0, limit: int = -1) -> list[LogLine]:
        """Its log lines since number ``after``, oldest first; -1: all that are kept."""
        with self._database.reading() as sql:
            return lines_of(sql, subtask_id, after, limit)

    def add_logs(self, subtask_id: str, lines: Iterable[LogLine]) -> None:
        """Keep log lines; the newest error among them is the reason of a failure.

        Raises:
            Refused: there is no such subtask.
        """
        with self._database.transaction() as sql:
            find(sql, subtask_id)
            add_lines(sql, subtask_id, lines)


def _check_new(sql: sqlite3.Connection, subtask_id: str) -> None:
    if sql.execute("SELECT 1 FROM subtasks WHERE subtask_id = ?", (subtask_id,)).fetchone():
        raise ValueError(f"there is a subtask {subtask_id!r} already")


def cancel_waiting(sql: sqlite3.Connection, subtask_id: str) -> None:
    """End a subtask that no service has accepted; one that may have it is told of the end."""
    sql.execute(
        "UPDATE subtasks SET status = 4, ended_at = ?, requested = NULL, dispatch = 'none',"
        " reason = NULL, tell = IIF(sent, 4, NULL) WHERE subtask_id = ?",
        (time.time(), subtask_id),
    )
