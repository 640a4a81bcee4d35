"""Whether the kernel ended a process for want of memory: it counts that by control group."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")

_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def oom_kills(groups: Path = GROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """How often the kernel has done so in this process's control group; 0 where it does not tell.

    In both versions of control groups, and where a container sees its own group as the root.
    """
    count = 0
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in {"", "memory"}:
                count += _count_of(groups / controllers, path)
    return count


def _count_of(mounted: Path, path: str) -> int:
    for folder in (mounted / path.lstrip("/"), mounted):
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError):
                found = _COUNT.search((folder / name).read_text())
                return int(found[1]) if found else 0
    return 0
