"""What a killed node leaves on its disk goes when it is there again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.processes import until


@pytest.mark.cluster
def test_a_node_removes_what_it_left_of_subtasks_that_ended_elsewhere(
    cluster: Cluster, tmp_path: Path
) -> None:
    let, state_dir = tmp_path / "let", cluster.folder / "one"
    service = cluster.service("Work", "OtherWork")
    killed = cluster.worker("one", "Work", "OtherWork")
    (over,) = cluster.create(service, "Work", {"until": str(let)})
    (goes_on,) = cluster.create(service, "OtherWork", {"until": str(let)})
    cluster.wait_for_runs(2)
    killed.kill()
    assert len(_left(state_dir)) == 4
    cluster.worker("two", "Work")
    let.touch()
    cluster.ledger.wait_for_end([over])
    again = cluster.worker("one", "Work", ready=False)
    until(lambda: len(_left(state_dir)) == 2, "what may go on there alone is left")
    assert all(goes_on in name for name in _left(state_dir))
    again.said("removed the files of attempts that are over elsewhere: 1")


def _left(state_dir: Path) -> list[str]:
    """Work directories, and locks."""
    locks = [path.name for path in (state_dir / "locks").iterdir()]
    return [*(path.name for path in (state_dir / "work").iterdir() if path.is_dir()), *locks]
