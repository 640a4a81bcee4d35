"""Whether a subtask ended as it should, once, with the right bytes, and left nothing running."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soaking.findings import Findings
from benchmarks.soaking.parties import Service
from benchmarks.soaking.work import Inputs, lives
from plugin_framework.emulator.store import Store
from plugin_framework.emulator.subtasks import Event
from plugin_framework.engines.local import JOURNAL
from plugin_framework.protocol.models import TaskStatus

LEFT = {
    "reports undelivered": "SELECT count(*) FROM reports WHERE fate = 'pending'",
    "reports refused": "SELECT count(*) FROM reports WHERE fate = 'refused'",
    "subtasks in the queue": "SELECT count(*) FROM queue",
}
"""What must not be in the journal at the end, and how it is counted."""


@dataclass(slots=True)
class Expected:
    """A subtask: of which kind and input it is, how it may end, and its plugin."""

    kind: str
    number: int
    ends: frozenset[TaskStatus]
    plugin: str


class Marks:
    """The processes that plugins have noted for each subtask."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._running: dict[str, set[str]] = {}
        self._read = 0

    def read(self) -> None:
        """Take in what is new."""
        if self.path.exists():
            with self.path.open(encoding="ascii") as file:
                file.seek(self._read)
                for line in iter(file.readline, ""):
                    name, process = line.split()
                    self._running.setdefault(name, set()).add(process)
                self._read = file.tell()

    def living(self, name: str) -> list[str]:
        """Those of a subtask that live."""
        return [one for one in sorted(self._running.get(name, ())) if lives(one)]

    def forget(self, name: str) -> None:
        """It has ended, and so have they."""
        self._running.pop(name, None)

    def left(self) -> list[str]:
        """All that live."""
        return [one for name in self._running for one in self.living(name)]


class Checks:
    """What was promised of each subtask; whoever breaks it is named in the findings."""

    def __init__(
        self, found: Findings, store: Store, inputs: Inputs, marks: Marks, service: Service
    ) -> None:
        self.expected: dict[str, Expected] = {}
        self._found = found
        self._store = store
        self._inputs = inputs
        self._marks = marks
        self._service = service
        self._seen: dict[str, tuple[int, bool]] = {}

    def ended(self, name: str) -> None:
        """Look at one that has ended; its outputs are removed, for want of room."""
        subtask, expected = self._store.subtask(name), self.expected[name]
        self._found.ended[f"{expected.kind} {subtask.status.name}"] += 1
        if subtask.status not in expected.ends:
            said = self._service.said_of(name)
            self._found.complain(f"different: {name} ended {subtask.status.name}: {said}")
        outputs = self._store.outputs(name)
        if len(outputs) != 1 and subtask.status is TaskStatus.COMPLETED:
            self._found.complain(f"lost: {name} has {len(outputs)} outputs")
        for output in outputs:
            self._found.outputs += 1
            if not self._inputs.is_output(expected.number, output.path):
                self._found.complain(f"wrong bytes: {name}, {output.name}")
            output.path.unlink()
        if left := self._marks.living(name):
            self._found.complain(f"{name} has ended, its processes not: {left}")
        self._marks.forget(name)
        if subtask.dispatch == "refused":
            self._found.complain(f"different: the service refused {name}: {subtask.reason}")
        else:
            # One that is cancelled before a service has accepted it is ended by Datahub itself.
            self._check_endings(name, needed=subtask.dispatch == "accepted")

    def _check_endings(self, name: str, *, needed: bool) -> None:
        told = self._told(name)
        endings = [one for one in told if is_ending(one)]
        self._seen[name] = len(told), needed
        if not endings and needed:
            self._found.complain(f"different: nobody reported the end of {name}")
        if len({json.dumps([one.kind, one.detail], sort_keys=True) for one in endings}) > 1:
            self._found.complain(f"different: {name} ended {[one.detail for one in endings]}")
        if endings and told[told.index(endings[0]) :] != endings:
            self._found.complain(f"different: {name} had another status after its end")
        for one in endings:
            if one.code and needed:
                self._found.complain(f"different: an end of {name} was refused: {one.message}")

    def again(self) -> None:
        """Judge what was told since: an end whose answer is lost is repeated, however late."""
        for name, (count, needed) in list(self._seen.items()):
            told = self._told(name)
            if len(told) != count:
                self._check_endings(name, needed=needed)
            repeats = max(sum(map(is_ending, told)) - 1, 0)
            self._found.done["identical repeats of an end"] += repeats

    def _told(self, name: str) -> list[Event]:
        events = self._store.events(name)
        return [one for one in events if one.kind in {"status", "result"}]

    def lost(self, name: str) -> None:
        """Say of one that it has not ended."""
        one = self._store.subtask(name)
        asked = one.requested and one.requested.name
        said = self._service.said_of(name)
        self._found.complain(
            f"lost: {name} is {one.status.name}, {one.dispatch}, asked for {asked}: {said}"
        )

    def what_is_left(self) -> None:
        """Look at what the service has left behind at its end."""
        journal = self._service.state / JOURNAL
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
            for title, question in LEFT.items():
                (count,) = db.execute(question).fetchone()
                if count:
                    self._found.complain(f"lost: {count} {title} at the end")
            if (damage := db.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                self._found.complain(f"the journal is damaged: {damage}")
        if left := self._marks.left():
            self._found.complain(f"processes outlived their service: {left}")
        for said in self._service.lines():
            self._found.logged[f"{said.get('level', 'plain')} {said.get('logger', '')}"] += 1


def is_ending(event: Event) -> bool:
    """Whether a call was the last of its subtask."""
    return event.kind == "result" or event.detail.get("status") in {4, 5}
