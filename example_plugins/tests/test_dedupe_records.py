from __future__ import annotations

import io
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from example_plugins.dedupe_plan import Plan
from example_plugins.dedupe_records import DedupeRecords
from example_plugins.dedupe_steps import problem
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from plugin_framework import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from plugin_framework.testing import TaskRun

pytestmark = pytest.mark.long  # each test starts several processes with DuckDB

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
        ("a,b\n1,2\n".encode("utf-16"), {}, "UTF-16, or no text; it must be UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-be"), {}, "UTF-16, or no text; it must be UTF-8"),
        ("a,b\n\u00e9,2\n\u00e8,3\n".encode("latin-1"), {}, "line 2: Invalid unicode"),
        ("\u00e9,b\n1,2\n".encode("latin-1"), {}, "names are not UTF-8: convert"),
        (b"a,b\n1\n2\n", {}, "no row can be read, the first in line 2: Expected Number"),
        (b"a,b\n1,2\r\n3,4\n", {}, "lines end in different ways"),
        (b"a,b\r\n1,2\r\n3,4\n", {}, "lines end in different ways"),
        (b'a,b\n"1,2\n3,4\n', {}, "line 2 has a quotation mark that is not closed"),
        (b'a,b\n1,2\n3,"4\n' + b"1,2\n" * 1_000_000, {}, "line 3 has a quotation mark"),
        (b'a,"b\n1,2\n', {}, "names cannot be read: unexpected end of data"),
        (b"\n\n", {}, "no line with the columns' names"),
        (b"a" * 3_000_000 + b"\n1\n", {}, "cannot be read: field larger"),
        (b"aaa," * 1_000_000 + b"\n1\n", {}, "longer than 2,097,152 characters"),
        (b'\xef\xbb\xbf"a\nb",c\n1,2\n', {}, "remove the mark"),
    ],
    ids=[
        *("empty", "key", "parquet", "utf-16", "no BOM", "latin-1", "latin-1 names", "all rows"),
        *("mixed ends", "one LF", "open quote", "long open quote", "open name", "blank"),
        *("long name", "long header", "BOM"),
    ],
)
def test_what_people_can_mend(
    dedupe: Callable[..., TaskRun], content: bytes, config: dict[str, Any], reason: str
) -> None:
    run = dedupe(content, **config)
    assert run.status is TaskStatus.FAILED
    assert reason in (run.error or "")
    assert "exit code" not in (run.error or "")
    assert "\n" not in (run.error or "")


@pytest.mark.parametrize(
    "header",
    [
        b"a,a,A",
        b",b,",
        b',"",  ',
        b'"a", b ,"c ""d"""',
        b'5" disk,"x\ny",a_1',
        b"#a,b,c",
        b"\xef\xbb\xbfa,b,b",
        b"column1,,it's",
    ],
)
@pytest.mark.parametrize("rows", [b"1,2,3\n1,2,4\n", b""])
def test_the_header_stays_as_it_is(
    dedupe: Callable[..., TaskRun], header: bytes, rows: bytes
) -> None:
    run = dedupe(header + b"\n" + rows + rows)
    assert output(run) == header + b"\n" + rows


def test_names_that_are_numbered_can_be_keys(dedupe: Callable[..., TaskRun]) -> None:
    text = b"a,a,A,\n1,2,3,4\n5,2,3,4\n1,6,3,4\n"
    assert counts(dedupe(text, keys=["a_1", "A_2", "column3"])) == [3, 0, 2, 1]


def test_empty_lines_before_the_header_and_comments(dedupe: Callable[..., TaskRun]) -> None:
    assert output(dedupe(b"\r\n\r\na,b\r\n#1,2\r\n#1,2\r\n3,4")) == b'a,b\n"#1",2\n3,4\n'


def test_a_row_too_long_fails_alone(dedupe: Callable[..., TaskRun]) -> None:
    assert counts(dedupe(b"a,b\n" + b"x" * 3_000_000 + b",2\n1,2\n1,2\n")) == [3, 1, 1, 1]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (duckdb.IOException("IO Error: Could not write: No space left on device"), "disk is full"),
        (
            duckdb.OutOfMemoryException(
                "Out of Memory Error: failed to offload data block of size 256.0 KiB.\nThis limit"
                " was set by the 'max_temp_directory_size' setting."
            ),
            "disk is full",
        ),
        (duckdb.OutOfMemoryException("Out of Memory Error: could not allocate"), "`memory_mb`"),
        (duckdb.IOException("IO Error: Cannot open file: Permission denied"), "DuckDB cannot do"),
    ],
    ids=["full", "full spill", "memory", "other"],
)
def test_what_is_not_the_input_s_fault(error: duckdb.Error, reason: str) -> None:
    plan = Plan.model_construct(source=Path("input.csv"), format="csv")
    told = problem(error, plan)
    assert reason in told
    assert "cannot be read as" not in told


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    source = tmp_path / "input.csv"
    source.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(duckdb.Error) as caught:
        duckdb.connect().execute("COPY (FROM range(1_000_000)) TO '/dev/full' (FORMAT csv)")
    plan = Plan.model_construct(source=source, format="csv")
    assert problem(caught.value, plan).startswith("the disk is full: make room")


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
