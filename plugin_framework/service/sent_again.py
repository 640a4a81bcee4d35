"""What was sent again while it was not over here, and may be another life of a subtask.

Where subtasks run elsewhere, Datahub may know of an end, and create the subtask anew, a little
before the service hears of that end.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from plugin_framework.service.changes import Submission


class SentAgain:
    """The last such call for each subtask. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._submissions: dict[str, Submission] = {}

    def __contains__(self, subtask_id: str) -> bool:
        return subtask_id in self._submissions

    def add(self, submission: Submission) -> None:
        """It was sent again."""
        with self._lock:
            self._submissions[submission.subtask_id] = submission

    def all(self) -> list[Submission]:
        """Those of which it is not known whether they only repeat others."""
        with self._lock:
            return list(self._submissions.values())

    def of(self, subtask_ids: Iterable[str]) -> list[Submission]:
        """Those of some subtasks."""
        with self._lock:
            found = [self._submissions.get(one) for one in subtask_ids]
        return [one for one in found if one is not None]

    def is_repeat(self, submission: Submission) -> bool:
        """It was sent before the end; False if another was sent since."""
        with self._lock:
            if self._submissions.get(submission.subtask_id) is not submission:
                return False
            del self._submissions[submission.subtask_id]
            return True

    def forget(self, subtask_id: str) -> None:
        """The life before is over."""
        with self._lock:
            self._submissions.pop(subtask_id, None)
