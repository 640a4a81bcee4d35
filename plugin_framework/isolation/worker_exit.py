"""How what runs a task's hooks has ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from plugin_framework.plugin.command import signal_name


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """How a worker ended: ``code`` as of ``subprocess``, ``peak_kib`` its peak memory.

    ``out_of_memory``: the kernel says that it has just ended a process for that. ``reason``: what
    it did, or what became of it, where that is known and the code does not tell.
    """

    code: int
    peak_kib: int = 0
    out_of_memory: bool = False
    reason: str | None = None

    def cause(self) -> str:
        """One line on what killed it."""
        peak = f" (peak memory {self.peak_kib / 1024:.0f} MiB)" if self.peak_kib else ""
        if self.reason is not None:
            return f"the plugin's process {self.reason}{peak}"
        if self.code == -signal.SIGKILL and self.out_of_memory:
            return f"the plugin's process ran out of memory, and the kernel killed it{peak}"
        if self.code == -signal.SIGKILL:
            return f"the plugin's process was killed by SIGKILL, perhaps out of memory{peak}"
        too_early = " before its task had ended" if self.code >= 0 else ""
        return f"the plugin's process {ending_of(self.code)}{too_early}{peak}"


def ending_of(code: int) -> str:
    """What a process did, by its exit code as of ``subprocess``: a phrase without a subject."""
    if code < 0:
        return f"was killed by signal {-code} ({signal_name(-code)})"
    return f"exited with code {code}"
