from __future__ import annotations

import io
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pytest
from example_plugins.dedupe_records import DedupeRecords
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from plugin_framework import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from plugin_framework.testing import TaskRun

MEMORY_MB = 64
FLIGHTS = 336_776
MORE = 400_000


@pytest.fixture(scope="session")
def doubled(flights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flights, each once or several times, in disorder: 68 MB."""
    header, *rows = flights.read_bytes().splitlines(keepends=True)
    chance = random.Random(7)
    rows += chance.choices(rows, k=MORE)
    chance.shuffle(rows)
    path = tmp_path_factory.mktemp("doubled") / "flights.csv"
    path.write_bytes(header + b"".join(rows))
    return path


@pytest.fixture
def dedupe(run_plugin: Callable[..., TaskRun]) -> Callable[..., TaskRun]:
    def start(source: Path | bytes, **config: Any) -> TaskRun:
        return run_plugin(DedupeRecords, input=source, config={"processes": 1, **config})

    return start


def counts(run: TaskRun) -> list[int]:
    assert run.result is not None, run.error
    names = ("total_counts", "failed_counts", "unique", "duplicates")
    return [run.result[name] for name in names]


def output(run: TaskRun) -> bytes:
    (found,) = run.outputs.values()
    return found.bytes()


def test_more_flights_than_memory(doubled: Path, run_plugin: Callable[..., TaskRun]) -> None:
    assert doubled.stat().st_size > 1_000_000 * MEMORY_MB
    config = {"memory_mb": MEMORY_MB}
    run = run_plugin(DedupeRecords, input=doubled, config=config, isolation="process")
    assert counts(run) == [FLIGHTS + MORE, 0, FLIGHTS, MORE]
    lines = doubled.read_bytes().splitlines(keepends=True)
    assert output(run) == b"".join(dict.fromkeys(lines))
    assert list(run.outputs) == ["flights.unique.csv"]
    assert not [line for line in run.logs if "leaked" in line.message]


def test_parquet_and_keys_agree_with_pandas(
    flights: Path, tmp_path: Path, dedupe: Callable[..., TaskRun]
) -> None:
    path = tmp_path / "flights.parquet"
    parquet.write_table(arrow_csv.read_csv(flights), path)
    keys = ["tailnum", "dest"]
    run = dedupe(path, keys=keys, keep="last", processes=2, memory_mb=2 * MEMORY_MB)
    table = pd.read_parquet(path)
    expected = table.drop_duplicates(keys, keep="last").reset_index(drop=True)
    found = pd.read_parquet(io.BytesIO(output(run)))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert counts(run) == [FLIGHTS, 0, len(expected), FLIGHTS - len(expected)]


TABLE = b"""\
id,name,note
1,Oslo,a
2,OSLO,b
3,"  Oslo ",c
4,,d
5,"",e
6,"New
York",f
7,New  York,g
"""


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        ({}, "1234567"),
        ({"keys": ["name"]}, "123467"),
        ({"keys": ["name"], "ignore_case": True}, "13467"),
        ({"keys": ["name"], "ignore_case": True, "ignore_spaces": True}, "146"),
        ({"keys": ["name"], "keep": "last"}, "123567"),
    ],
)
def test_what_is_equal(dedupe: Callable[..., TaskRun], config: dict[str, Any], kept: str) -> None:
    table = pd.read_csv(io.BytesIO(output(dedupe(TABLE, **config))))
    assert "".join(map(str, table["id"])) == kept


def test_values_stay_as_they_are(dedupe: Callable[..., TaskRun]) -> None:
    text = b'a;b\n007;1.50\n"x;y";NA\n+1;"he said ""no"""\n'
    assert output(dedupe(text, delimiter=";")) == text


def test_odd_names(dedupe: Callable[..., TaskRun]) -> None:
    names = ['say "hi"', "it's", "row_number", "part_number", "select", "COLUMNS(*)"]
    table = pd.DataFrame([range(6), range(6)], columns=names)
    run = dedupe(table.to_csv(index=False).encode(), keys=names[:3])
    assert counts(run) == [2, 0, 1, 1]
    assert list(pd.read_csv(io.BytesIO(output(run))).columns) == names


def test_a_name_is_no_pattern(run_plugin: Callable[..., TaskRun]) -> None:
    name = "we*ird [1]'s?.csv"
    run = run_plugin(DedupeRecords, input=TABLE, input_name=name, config={"processes": 1})
    assert counts(run) == [7, 0, 7, 0]


def test_rows_that_cannot_be_read(dedupe: Callable[..., TaskRun]) -> None:
    text = b"a,b\n1,2\n3\n1,2\n4,5,6\n"
    assert counts(dedupe(text)) == [4, 2, 1, 1]
    assert counts(dedupe(b"a,b\n\xff\xfe,2\n3,4\n")) == [2, 1, 1, 0]
    run = dedupe(text, max_failed_rows=1)
    assert run.status is TaskStatus.FAILED
    assert "more than 1 rows" in (run.error or "")


def test_no_rows(dedupe: Callable[..., TaskRun], tmp_path: Path) -> None:
    run = dedupe(b"a,b\n")
    assert (counts(run), output(run)) == ([0, 0, 0, 0], b"a,b\n")
    parquet.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "empty.parquet")
    run = dedupe(tmp_path / "empty.parquet")
    assert counts(run) == [0, 0, 0, 0]
    assert parquet.read_schema(io.BytesIO(output(run))).names == ["a"]


@pytest.mark.parametrize(
    ("content", "config", "reason"),
    [
        (b"", {}, "empty"),
        (b"a,b\n1,2\n", {"keys": ["c"]}, "there is no column 'c'; there are: a, b"),
        (b"PAR1 but no more", {}, "cannot be read as parquet: No magic bytes"),
    ],
    ids=["empty", "key", "parquet"],
)
def test_what_people_can_mend(
    dedupe: Callable[..., TaskRun], content: bytes, config: dict[str, Any], reason: str
) -> None:
    run = dedupe(content, **config)
    assert run.status is TaskStatus.FAILED
    assert reason in (run.error or "")
    assert "exit code" not in (run.error or "")


def lines(run: TaskRun, text: str) -> int:
    return sum(text in line.message for line in run.logs)


@pytest.mark.parametrize(("place", "parts_done"), [("split", 0), ("part", 1)])
def test_killed_it_goes_on_with_the_missing_parts(
    nycflights: Path, start_plugin: Callable[..., TaskRun], place: str, parts_done: int
) -> None:
    planes = nycflights / "planes.csv"
    config = {"memory_mb": 128, "processes": 2, "keys": ["model"]}
    options: dict[str, Any] = {"isolation": "process", "kill_at": place}
    run = start_plugin(DedupeRecords, input=planes, config=config, **options).wait()
    assert [lines(run, "split into 2 parts"), lines(run, "of a part")] == [1, parts_done]
    again = run.rerun().wait()
    assert again.attempt == 2
    assert lines(again, "split into") == 0
    # The other part may have been done as well when the first one was noted.
    assert lines(again, "of a part") <= 2 - parts_done
    expected = pd.read_csv(planes).drop_duplicates("model")
    found = pd.read_csv(io.BytesIO(output(again)))
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True), check_dtype=False)


def test_cancel_ends_duckdb(
    doubled: Path,
    start_plugin: Callable[..., TaskRun],
    child_runs: Callable[[str], bool],
    wait_for_child: Callable[[str], None],
) -> None:
    run = start_plugin(DedupeRecords, input=doubled, config={"memory_mb": 128})
    wait_for_child("dedupe_steps")
    run.cancel()
    assert run.wait().status is TaskStatus.CANCELLED
    assert not child_runs("dedupe_steps")


def test_another_plan_begins_anew(start_plugin: Callable[..., TaskRun]) -> None:
    state = {"plan": {"of": "another config"}, "counts": {"rows": 1, "failed_rows": 0}}
    run = start_plugin(DedupeRecords, input=TABLE, state=state, config={"processes": 1}).wait()
    assert counts(run) == [7, 0, 7, 0]
