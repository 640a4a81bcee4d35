"""What seems to be lost: whether messages lack, and when a subtask is to be published again."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Mapping

LONGEST_PAUSE = 300.0
"""Seconds between two times that a subtask is published again."""

LOOKS = 9
"""So many of the last looks decide whether messages lack, by their majority."""


class Shortages:
    """Of which plugins fewer messages wait than should.

    What waits and what nodes have cannot be seen at one moment: while the queue moves, a single
    look may find one too many or too few.
    """

    def __init__(self) -> None:
        self._looks: defaultdict[str, deque[bool]] = defaultdict(lambda: deque(maxlen=LOOKS))

    def see(self, depths: Mapping[str, int | None], expected: Mapping[str, int]) -> None:
        """What waits, where that is known, and what should."""
        for plugin, depth in depths.items():
            if depth is not None:
                self._looks[plugin].append(depth < expected.get(plugin, 0))

    def __contains__(self, plugin: str) -> bool:
        looks = self._looks[plugin]
        return 2 * sum(looks) > len(looks)

    def clear(self) -> None:
        """Nothing can be seen."""
        self._looks.clear()


class Repeats:
    """When what seems to be lost is to be published again: at times that lie ever further apart."""

    def __init__(self, first: float) -> None:
        self._first = first
        self._due: dict[str, tuple[float, float]] = {}

    def due(self, subtask_id: str, now: float, since: float) -> bool:
        """Whether it is now; ``since`` is when it was first without a sign of life."""
        at, pause = self._due.setdefault(subtask_id, (since + self._first, self._first * 2))
        if now < at:
            return False
        self._due[subtask_id] = now + pause, min(pause * 2, LONGEST_PAUSE)
        return True

    def forget(self, subtask_id: str) -> None:
        """There was a sign of life."""
        self._due.pop(subtask_id, None)

    def forget_all_but(self, subtask_ids: Collection[str]) -> None:
        """There was a sign of life of all others."""
        for subtask_id in self._due.keys() - subtask_ids:
            del self._due[subtask_id]
