"""What is noted and told of a subtask's transfers."""

from __future__ import annotations

from typing import Any

from plugin_framework.lifecycle.chronicle import Chronicle

NAME = "a.csv?X-Amz-Signature=CANARY"


class Recorder:
    """Takes what the timeline and observers are given."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def note(self, subtask_id: str, kind: str, **detail: Any) -> None:
        self.taken.append(f"{subtask_id}: {kind} {detail}")

    def count(self, subtask_id: str, kind: str) -> None:
        self.taken.append(f"{subtask_id}: {kind}")

    def tell(self, hook: str, **facts: Any) -> None:
        self.taken.append(f"{hook} {facts}")

    def ask(self, hook: str, **facts: Any) -> list[Any]:
        self.tell(hook, **facts)
        return []

    def close(self) -> None:
        """Nothing is left to tell."""


def test_a_file_that_is_named_after_a_url_is_told_without_its_query() -> None:
    recorder = Recorder()
    chronicle = Chronicle("s", recorder, recorder)
    with chronicle.transfer("download", NAME):
        chronicle.transferred("download", NAME, 1, 1)
    assert len(recorder.taken) == 4
    assert all("a.csv?..." in taken and "CANARY" not in taken for taken in recorder.taken)
