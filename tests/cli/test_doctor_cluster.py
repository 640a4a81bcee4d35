"""``doctor`` on a cluster: of its store, its nodes, and a broker that is not there."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from plugin_framework._version import __version__
from plugin_framework.cli.doctor import cluster
from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.examine import examine
from plugin_framework.cli.doctor.finding import Finding
from plugin_framework.engines.cluster.journal_store import JournalStore
from plugin_framework.engines.cluster.records import NodeRecord, Offer
from plugin_framework.engines.local import JOURNAL
from plugin_framework.journal.journal import Journal
from tests.cli.calling import PLUGINS
from tests.cli.doctoring import case_of
from tests.free_ports import free_ports

GIB = 1024**3
ENGINE = "plugin_framework.engines.celery"
NODE = NodeRecord(
    name="a-1-0f0f",
    label="a",
    engine="celery",
    framework=__version__,
    plugins={"Echo": ""},
    offer=Offer(2, 0, 4 * GIB),
    slots=2,
    running=("s-1",),
    draining=False,
    started=0.0,
    beats=0,
    clock=0.1,
    ended={},
)
GREEDY = '''
from plugin_framework import DatahubPlugin


class Greedy(DatahubPlugin):
    """Needs much."""

    version = "2.0"
    resources = {"cpus": 4, "gpus": 1, "memory": "32GiB"}

    def process(self, ctx):
        return {}


class Odd(Greedy):
    """Needs what there is not."""

    resources = {"gpu": 1}
'''


def cluster_case(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str, **variables: object
) -> Case:
    given = {"BROKER_URL": "amqp://127.0.0.1:1", "ENGINE": "celery", **variables}
    (folder / "greedy.py").write_text(GREEDY)
    monkeypatch.syspath_prepend(str(folder))
    return case_of(monkeypatch, folder, names or (f"{PLUGINS}:Echo",), **given)


def found(case: Case, *checks: str) -> list[Finding]:
    """What these checks say, whatever comes of the others."""
    group = [
        replace(check, needs=()) for check in cluster.checks(case.settings) if check.name in checks
    ]
    return examine(case, group)


def lines(findings: list[Finding]) -> list[tuple[str, str, str | None]]:
    return [(one.level, one.message, one.code) for one in findings]


@contextmanager
def alive(folder: Path, *nodes: NodeRecord) -> Iterator[None]:
    """Nodes that write to their records in the journal of ``folder``."""
    over = threading.Event()
    (folder / "state").mkdir(mode=0o700, exist_ok=True)

    def beat(store: JournalStore) -> None:
        beats = 0
        while not over.wait(0.05):
            beats += 1
            for node in nodes:
                store.beat(replace(node, beats=beats))

    with closing(Journal(folder / "state" / JOURNAL)) as journal:
        store = JournalStore(journal)
        for node in nodes:
            store.beat(node)
        beating = threading.Thread(target=beat, args=(store,))
        beating.start()
        try:
            yield
        finally:
            over.set()
            beating.join()


def test_there_are_none_where_subtasks_run_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = case_of(monkeypatch, tmp_path, BROKER_URL="amqp://127.0.0.1:1")
    assert cluster.checks(case.settings) == ()


def test_no_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    url = f"amqp://user:canary-password@127.0.0.1:{port}/work"
    case = cluster_case(monkeypatch, tmp_path, BROKER_URL=url)
    said = examine(case, cluster.checks(case.settings))
    (broker,) = [one for one in said if one.check == "broker"]
    assert (broker.level, broker.code) == ("fail", "DH-601")
    assert f"127.0.0.1:{port}" in broker.message
    assert broker.remedy
    skipped = {one.check for one in said if one.level == "skip"}
    assert skipped == {"queues", "timeout"}
    assert all("canary-password" not in one.message for one in said)


@pytest.mark.parametrize(
    ("given", "shown"),
    [({}, "fail (a worker: leave)"), ({"ON_SHUTDOWN": "pause"}, "pause")],
)
def test_a_worker_leaves_at_its_end_what_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], shown: str
) -> None:
    case = cluster_case(monkeypatch, tmp_path, **given)
    values = {row.variable: row.value for row in case.reading.rows}
    assert values["DATAHUB_ON_SHUTDOWN"] == shown


def test_celery_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.startswith(ENGINE)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    (one,) = found(cluster_case(monkeypatch, tmp_path), "broker")
    assert (one.level, one.code) == ("fail", "DH-613")
    assert "pip install 'datahub-plugin-framework[celery]'" in one.message
    assert one.remedy == "Install the extra that the line names."


def test_the_journal_as_the_store_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = cluster_case(monkeypatch, tmp_path)
    store, nodes = found(case, "store", "nodes")
    assert (store.level, store.message) == ("ok", JournalStore.guarantee)
    assert (nodes.level, nodes.code) == ("warn", "DH-609")
    assert "datahub-plugin worker" in str(nodes.remedy)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"BROKER_URL": "amqp://broker.example.com"}, "DH-608"),
        ({"STORE_URL": "postgresql://user:canary-password@127.0.0.1:{port}/x"}, "DH-607"),
        ({"STORE_URL": "redis://:canary-password@127.0.0.1:{port}/0"}, "DH-607"),
    ],
)
def test_a_store_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], code: str
) -> None:
    (port,) = free_ports(1)
    given = {name: value.format(port=port) for name, value in variables.items()}
    case = cluster_case(monkeypatch, tmp_path, **given)
    (one,) = found(case, "store")
    assert (one.level, one.code) == ("fail", code)
    assert one.remedy
    assert "canary-password" not in f"{one.message} {one.remedy}"


def test_a_damaged_journal_is_not_put_aside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    journal = tmp_path / "state" / JOURNAL
    journal.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)
    (one,) = found(cluster_case(monkeypatch, tmp_path), "store")
    assert one.level == "fail"
    assert [path.name for path in journal.parent.iterdir()] == [JOURNAL]


def test_nodes_that_fit_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = replace(NODE, name="b-2-0f0f", label="b", running=(), draining=True)
    with alive(tmp_path, NODE, other):
        said = found(cluster_case(monkeypatch, tmp_path), "nodes")
    assert [one.level for one in said] == ["ok", "ok"]
    first, second = [one.message for one in said]
    assert first == "a-1-0f0f: Echo; 1 of 2 slots taken; 2 CPUs, 4 GiB of memory"
    assert second.startswith("b-2-0f0f: Echo; draining; ")


def test_a_node_that_is_gone_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with alive(tmp_path, NODE):
        pass
    (one,) = found(cluster_case(monkeypatch, tmp_path), "nodes")
    assert (one.level, one.code) == ("warn", "DH-609")


def test_versions_that_differ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    newer = replace(NODE, name="b-2-0f0f", plugins={"Greedy": "2.1"}, offer=Offer(8, 2, 64 * GIB))
    older = replace(newer, name="c-3-0f0f", plugins={"Greedy": "2.0"}, framework="0.0.1")
    case = cluster_case(monkeypatch, tmp_path, "greedy:Greedy")
    with alive(tmp_path, newer, older):
        said = lines([one for one in found(case, "nodes") if one.level != "ok"])
    assert {(level, code) for level, _, code in said} == {("warn", "DH-612")}
    of_plugin, of_framework = [message for _, message, _ in said]
    assert of_plugin == (
        "Greedy is not the same everywhere: 2.0 on this machine, c-3-0f0f; 2.1 on b-2-0f0f"
    )
    assert of_framework == (
        "plugin_framework is not the same everywhere:"
        f" {__version__} on this machine, b-2-0f0f; 0.0.1 on c-3-0f0f"
    )


@pytest.mark.parametrize(
    ("ahead", "level", "told"),
    [(-3.0, "warn", "3.0 s behind"), (75.0, "fail", "75.0 s ahead of")],
)
def test_a_clock_that_is_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ahead: float, level: str, told: str
) -> None:
    with alive(tmp_path, replace(NODE, clock=ahead)):
        said = found(cluster_case(monkeypatch, tmp_path), "nodes")
    assert lines(said)[1:] == [(level, f"the clock of a-1-0f0f is {told} the store's", "DH-614")]


def test_what_nobody_offers_and_what_nobody_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = replace(NODE, plugins={"Greedy": "2.0", "Odd": "2.0"})
    names = (f"{PLUGINS}:Echo", "greedy:Greedy", "greedy:Odd")
    case = cluster_case(monkeypatch, tmp_path, *names)
    with alive(tmp_path, small):
        _, echo, greedy, odd = found(case, "nodes")
    assert (echo.level, echo.code) == ("warn", "DH-609")
    assert "no worker offers plugin Echo" in echo.message
    assert (greedy.level, greedy.code) == ("warn", "DH-610")
    assert "needs 4 CPUs, 1 GPU, 32 GiB of memory" in greedy.message
    assert "2 CPUs, 4 GiB of memory" in greedy.message
    assert (odd.level, odd.code) == ("fail", "DH-122")
    assert "did you mean 'gpus'?" in odd.message
