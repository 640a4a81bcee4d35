"""What came of one run of the plugin, as Datahub, the log and the probe saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from plugin_framework.emulator.subtasks import Event
from plugin_framework.lifecycle.outcome import TaskOutcome
from plugin_framework.protocol.models import TaskStatus

# The log of a task's process says so where a hook fails after the work; the outcome stands then.
_HOOK_FAILED = "a hook that runs after the work failed"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the task's log."""

    logger: str
    message: str


@dataclass(slots=True)
class Trial:
    """One run.

    Attributes:
        input: what it was run on, for people.
        outcome: how it ended.
        events: what Datahub was sent, and asked to do; oldest first.
        lines: the task's log.
        facts: what the probe noted in the plugin's process.
        seconds: how long it took.
        overdue: it was cancelled by the suite, having taken too long.
        peak: the most bytes of memory its processes held, where that was measured.
        strays: commands of its processes that were still there when it was over.
        left: files that it left in the current folder, or among the temporary ones.
        seen: what the rule noted while it ran.
    """

    input: str
    outcome: TaskOutcome
    events: list[Event]
    lines: list[Line]
    facts: list[dict[str, Any]]
    seconds: float
    overdue: bool
    peak: int
    strays: list[str]
    left: list[str]
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def completed(self) -> bool:
        """Whether it has a result."""
        return self.outcome.status is TaskStatus.COMPLETED

    @property
    def refused(self) -> bool:
        """Whether the plugin failed it with a message for people, as it should."""
        raised = self.fact("raised")
        return self.outcome.status is TaskStatus.FAILED and bool(raised and raised["clean"])

    @property
    def broken_off(self) -> bool:
        """Whether its process ended before it could clear away."""
        return bool(self.facts) and self.fact("finished") is None

    @property
    def ended(self) -> str:
        """How it ended, in one line."""
        if self.overdue:
            return f"had not ended after {self.seconds:.0f} s"
        status = self.outcome.status.name.lower()
        return f"{status}: {self.outcome.error}" if self.outcome.error else status

    @property
    def counts(self) -> tuple[Any, ...]:
        """The three counts of the result; None where one is not there."""
        result: Mapping[str, Any] = self.outcome.result or {}
        return tuple(result.get(f"{which}_counts") for which in ("total", "success", "failed"))

    @property
    def outputs(self) -> dict[str, str | None]:
        """The SHA-256 of each output, by its name."""
        return {output.name: output.sha256 for output in self.outcome.outputs}

    @property
    def hook_failures(self) -> list[str]:
        """The last lines of what hooks raised when the work was over."""
        return [
            line.message.strip().splitlines()[-1]
            for line in self.lines
            if line.message.startswith(_HOOK_FAILED)
        ]

    def fact(self, name: str) -> dict[str, Any] | None:
        """The last fact of that name that the probe noted."""
        return next((fact for fact in reversed(self.facts) if fact["fact"] == name), None)

    def seconds_after(self, kind: str) -> float:
        """The time from the first event of that kind to the last status, by Datahub's clock."""
        asked = [event.at for event in self.events if event.kind == kind]
        told = [event.at for event in self.events if event.kind in {"status", "result"}]
        return max(told[-1] - asked[0], 0.0) if asked and told else 0.0

    @property
    def checkpoints(self) -> int:
        """How many ``process`` came to."""
        returned = self.fact("returned")
        return int(returned["checkpoints"]) if returned else 0

    @property
    def longest_silence(self) -> float:
        """The longest time, in seconds, for which a running task sent Datahub nothing."""
        known = {"status", "heartbeat", "result"}
        times = [event.at for event in self.events if event.kind in known]
        return max((after - before for before, after in pairwise(times)), default=0.0)
