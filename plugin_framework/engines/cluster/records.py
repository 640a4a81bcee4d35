"""What the store keeps of subtasks and nodes, as JSON for its rows.

Times are in seconds, sizes in bytes, and parts count from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from plugin_framework.journal.journal import Fate
from plugin_framework.journal.uploads import KeptPart, Output


@dataclass(frozen=True, slots=True)
class Sight:
    """A subtask's lease as somebody sees it: ``number`` is that of its last attempt, 0 of none.

    ``held``: it was not given back. Its holder adds to ``beats``: one that stays the same for long
    enough, by the clock of who looks, is held by nobody any more.
    """

    number: int
    beats: int
    node: str
    held: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a subtask and to report of it, until another takes it.

    ``number`` is the attempt's. ``losses`` are the attempts that were lost in a row up to it: they
    had begun, and neither ended nor were given back.
    """

    subtask_id: str
    number: int
    node: str
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """A subtask's terminal report, to be sent to ``path`` as it stands; see ``journal.Report``."""

    status: int
    path: str
    body: bytes
    outcome: Mapping[str, Any]
    fate: Fate = "pending"

    def as_json(self) -> dict[str, Any]:
        """All but the fate, which changes by itself."""
        return {
            "status": self.status,
            "path": self.path,
            "body": self.body.decode(),
            "outcome": dict(self.outcome),
        }

    @classmethod
    def of(cls, kept: Mapping[str, Any], fate: Fate) -> Self:
        """What ``as_json`` made."""
        return cls(kept["status"], kept["path"], kept["body"].encode(), kept["outcome"], fate)


@dataclass(frozen=True, slots=True)
class SharedUpload:
    """An upload that was begun, as ``journal.uploads.KeptUpload``.

    The URLs of its parts are credentials: see ``sealed``. They are empty where they do not travel.
    """

    name: str
    upload_id: str
    size: int
    chunk: int
    part_size: int
    sealed_urls: str = field(repr=False)
    parts: Mapping[int, KeptPart] = field(default_factory=dict)
    completed: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """What attempts before this one leave to it."""

    state: Mapping[str, Any] = field(default_factory=dict)
    uploads: tuple[SharedUpload, ...] = ()
    outputs: tuple[Output, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """What a node has for subtasks: memory in bytes."""

    cpus: int
    gpus: int
    memory: int


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A process that takes subtasks.

    Attributes:
        name: unique to the process; ``label`` is the machine's.
        engine: the name of the engine that it takes them from.
        framework: its version of this framework.
        plugins: their names, and the version of each.
        slots: how many subtasks it runs at once; ``running`` are the ids of those that it does.
        draining: it takes no more.
        started: its start, in Unix seconds by its own clock.
        beats: grows with each record that it writes.
        clock: seconds by which its clock is ahead of the store's.
        ended: how many subtasks it brought to their end, by the status's name in lower case.
    """

    name: str
    label: str
    engine: str
    framework: str
    plugins: Mapping[str, str]
    offer: Offer
    slots: int
    running: tuple[str, ...]
    draining: bool
    started: float
    beats: int
    clock: float
    ended: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """What ``as_json`` made, perhaps in a later release: what is not known here is left out."""
        known = {each.name: kept[each.name] for each in fields(cls)}
        offer = Offer(**{each.name: kept["offer"][each.name] for each in fields(Offer)})
        return cls(**{**known, "offer": offer, "running": tuple(kept["running"])})
