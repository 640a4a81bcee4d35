"""What a soak samples, and whether that stays flat."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from plugin_framework.engines.local import JOURNAL

MIB = 1024 * 1024
WARM_SECONDS = 900.0
LEAST_SAMPLES = 12
"""Of a life that is judged: three in each quarter."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: ``at`` in monotonic seconds, sizes in bytes, ``life`` the service's process id.

    ``forker`` is the memory of the process that plugin processes are forked from, ``tree`` that of
    the service and all below it; ``state_files`` counts the files of the state folder.
    """

    at: float
    life: int
    rss: int
    forker: int
    tree: int
    threads: int
    handles: int
    processes: int
    zombies: int
    journal: int
    state: int
    state_files: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much more may be in the last quarter than in the second.

    What is compared is the value that a quarter of the samples are below: what runs just then comes
    and goes, and what has leaked stays. ``warming`` is what a process that has just begun may take
    on top, less and less until it has run for ``WARM_SECONDS``.
    """

    title: str
    most: float
    share: float
    unit: int = 1
    warming: float = 0

    def after(self, before: float, seconds: float) -> float:
        """How much more it may be in a life of so many seconds."""
        left = max(0.0, 1 - seconds / WARM_SECONDS)
        return self.most + self.share * before + self.warming * left


OF_A_LIFE: Mapping[str, Allowance] = {
    "rss": Allowance("service memory, MiB", 4 * MIB, 0.05, MIB, warming=24 * MIB),
    "forker": Allowance("fork server memory, MiB", 4 * MIB, 0.05, MIB),
    "tree": Allowance("all memory, MiB", 48 * MIB, 0.25, MIB),
    "threads": Allowance("threads", 6, 0.15),
    "handles": Allowance("file handles", 10, 0.15),
    "zombies": Allowance("zombies", 1, 0),
}
OF_THE_RUN: Mapping[str, Allowance] = {
    "journal": Allowance("journal with its log, MiB", 1 * MIB, 0.25, MIB),
    "state": Allowance("state folder, MiB", 32 * MIB, 0.5, MIB),
    "state_files": Allowance("files in the state folder", 40, 0.25),
}


@dataclass(frozen=True, slots=True)
class Trend:
    """A figure over a time: the first quartiles of its second and last quarter, in its unit."""

    title: str
    seconds: float
    before: float
    after: float
    allowed: float

    @property
    def flat(self) -> bool:
        """Whether it has not grown, but for what is allowed."""
        return self.after - self.before <= self.allowed

    def __str__(self) -> str:
        return (
            f"{self.title}: {self.before:.1f}, and {self.after:.1f} half of {self.seconds:.0f} s"
            f" later (allowed: {self.allowed:.1f} more)"
        )


def trends(samples: Sequence[Sample], allowances: Mapping[str, Allowance]) -> list[Trend]:
    """Each figure's trend over samples that belong together; none where they are too few."""
    if len(samples) < LEAST_SAMPLES:
        return []
    quarter = len(samples) // 4
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    seconds = samples[-1].at - samples[0].at
    found = []
    for name, allowance in allowances.items():
        before = quantiles((getattr(one, name) for one in second), n=4)[0]
        after = quantiles((getattr(one, name) for one in last), n=4)[0]
        found.append(
            Trend(
                allowance.title,
                seconds,
                before / allowance.unit,
                after / allowance.unit,
                allowance.after(before, seconds) / allowance.unit,
            )
        )
    return found


def lives_of(samples: Iterable[Sample], seconds: float) -> list[list[Sample]]:
    """The samples of each process of the service that lived so long."""
    lives: dict[int, list[Sample]] = {}
    for sample in samples:
        lives.setdefault(sample.life, []).append(sample)
    return [one for one in lives.values() if one[-1].at - one[0].at >= seconds]


def look(life: int, state: Path) -> Sample | None:
    """Look at a service and its state folder; None where the service has just ended."""
    tree = _tree(life)
    figures = [one for pid in tree if (one := _figures(pid)) is not None]
    if life not in (pid for pid, *_ in figures):
        return None
    pages = os.sysconf("SC_PAGE_SIZE")
    _, _, own, threads = next(one for one in figures if one[0] == life)
    try:
        handles = len(os.listdir(f"/proc/{life}/fd"))  # noqa: PTH208 - no need of their names
    except OSError:
        return None
    sizes = dict(_files(state))
    journal = sum(sizes.get(state / f"{JOURNAL}{end}", 0) for end in ("", "-wal", "-shm"))
    return Sample(
        at=time.monotonic(),
        life=life,
        rss=own * pages,
        forker=max((rss for pid, *_, rss, _ in figures if pid in tree[life]), default=0) * pages,
        tree=sum(rss for _, _, rss, _ in figures) * pages,
        threads=threads,
        handles=handles,
        processes=len(figures),
        zombies=sum(state == "Z" for _, state, *_ in figures),
        journal=journal,
        state=sum(sizes.values()),
        state_files=len(sizes),
    )


def _tree(root: int) -> dict[int, list[int]]:
    """A process and all below it, each with its children."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all it takes
        if entry.isdigit():
            with suppress(OSError, IndexError):
                stat = Path("/proc", entry, "stat").read_text(errors="replace")
                parent = int(stat.rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found: dict[int, list[int]] = {}
    left = [root]
    while left:
        pid = left.pop()
        found[pid] = children.get(pid, [])
        left += found[pid]
    return found


def children_of(pid: int) -> list[int]:
    """The processes that a process has started itself."""
    return _tree(pid)[pid]


def _figures(pid: int) -> tuple[int, str, int, int] | None:
    """Process id, state, resident pages and threads; None where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return pid, fields[0], int(fields[21]), int(fields[17])


def _files(folder: Path) -> Iterable[tuple[Path, int]]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            with suppress(OSError):
                yield path, path.lstat().st_size
