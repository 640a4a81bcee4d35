from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from example_plugins.parquet_convert import ParquetConvert
from pyarrow import parquet

from plugin_framework import PluginError, TaskCancelled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa


@pytest.fixture
def convert(run: Callable[..., Any]) -> Callable[..., pa.Table]:
    """Converts CSV text and returns the Parquet file's table."""

    def start(text: str, **config: Any) -> pa.Table:
        outputs = run(ParquetConvert, text.encode(), **config).outputs
        return parquet.read_table(outputs / "input.parquet")

    return start


def test_flights_agree_with_pandas(run: Callable[..., Any], flights: Path) -> None:
    done = run(ParquetConvert, flights)
    path = done.outputs / "flights.parquet"
    assert done.result["success_counts"] == 336_776
    assert done.result["columns"] == 19
    assert done.result["bytes"] == path.stat().st_size
    assert done.result["types"]["time_hour"] == "datetime with zone"
    expected = pd.read_csv(flights, parse_dates=["time_hour"])
    found = pd.read_parquet(path)
    pd.testing.assert_frame_equal(
        found, expected, check_dtype=False, check_index_type=False, check_column_type=False
    )


@pytest.mark.parametrize("table", ["airlines", "airports", "planes", "weather"])
def test_small_tables_agree_with_pandas(
    run: Callable[..., Any], nycflights: Path, table: str
) -> None:
    path = nycflights / f"{table}.csv"
    outputs = run(ParquetConvert, path).outputs
    found = pd.read_parquet(outputs / f"{table}.parquet")
    expected = pd.read_csv(path)
    if table == "weather":
        expected["time_hour"] = pd.to_datetime(expected["time_hour"])
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


@pytest.mark.parametrize(
    ("values", "arrow_type", "expected"),
    [
        (["1", "NA", "-3"], "int64", [1, None, -3]),
        (["1", "2.5"], "double", [1.0, 2.5]),
        (["02134", "10001"], "string", ["02134", "10001"]),
        (["12345678901234567890", "1"], "string", ["12345678901234567890", "1"]),
        (["9223372036854775807"], "int64", [2**63 - 1]),
        (["true", "False"], "bool", [True, False]),
        (["yes", "no"], "string", ["yes", "no"]),
    ],
)
def test_types(
    convert: Callable[..., pa.Table], values: list[str], arrow_type: str, expected: list[Any]
) -> None:
    column = convert("id,value\n" + "".join(f"1,{value}\n" for value in values))["value"]
    assert str(column.type) == arrow_type
    assert column.to_pylist() == expected


def test_dates_and_times(convert: Callable[..., pa.Table]) -> None:
    table = convert(
        "date,local,zoned\n"
        "2013-01-31,2013-01-31 10:00,2013-01-31T10:00:00+02:00\n"
        "2014-02-28,2013-01-31T10:00:00.123456,2013-01-31T10:00:00Z\n"
    )
    types = [str(kind) for kind in table.schema.types]
    assert types == ["date32[day]", "timestamp[us]", "timestamp[us, tz=UTC]"]
    assert table["zoned"][0].as_py().hour == 8


@pytest.mark.parametrize(
    ("time", "kind"),
    [
        ("0000-12-31", "string"),
        ("0001-01-01", "date32[day]"),
        ("9999-12-31", "date32[day]"),
        ("0000-12-31 23:59", "string"),
        ("0001-01-01 00:00", "timestamp[us]"),
        ("9999-12-31T23:59:59.999999", "timestamp[us]"),
        ("0001-01-01T00:00:00+14:00", "string"),
        ("0001-01-01T00:00:00Z", "timestamp[us, tz=UTC]"),
        ("9999-12-31T23:59:59Z", "timestamp[us, tz=UTC]"),
        ("9999-12-31T23:59:59-14:00", "string"),
    ],
)
def test_only_times_that_python_can_read(
    convert: Callable[..., pa.Table], time: str, kind: str
) -> None:
    column = convert(f"id,time\n1,{time}\n2,\n")["time"]
    assert str(column.type) == kind
    assert len(column.to_pylist()) == 2


def test_a_late_odd_value_makes_text_of_the_whole_column(convert: Callable[..., pa.Table]) -> None:
    numbers = [str(number) for number in range(500_000)]
    table = convert("value\n" + "\n".join([*numbers, "odd"]))
    assert table["value"].to_pylist() == [*numbers, "odd"]


@pytest.mark.parametrize("compression", ["zstd", "snappy", "none"])
def test_compression(run: Callable[..., Any], nycflights: Path, compression: str) -> None:
    outputs = run(ParquetConvert, nycflights / "planes.csv", compression=compression).outputs
    row_group = parquet.ParquetFile(outputs / "planes.parquet").metadata.row_group(0)
    written = row_group.column(0).compression
    assert written == {"none": "UNCOMPRESSED"}.get(compression, compression.upper())


def test_ragged_rows_are_counted(run: Callable[..., Any]) -> None:
    result = run(ParquetConvert, b"a,b\n1,2\n3\n4,5,6\n7,8\n").result
    assert (result["total_counts"], result["failed_counts"]) == (4, 2)


def test_header_only_and_duplicate_names(convert: Callable[..., pa.Table]) -> None:
    table = convert("a,a,b")
    assert table.column_names == ["a", "a_2", "b"]
    assert table.num_rows == 0


def test_not_text(run: Callable[..., Any]) -> None:
    with pytest.raises(PluginError, match="encoding"):
        run(ParquetConvert, b"a,b\n\xff\xfe,2\n")


def test_input_that_is_called_parquet_is_left_alone(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    source = tmp_path / "table.parquet"
    source.write_text("a,b\n1,2\n", "utf-8")
    assert run(ParquetConvert, source).result["success_counts"] == 1
    assert source.read_text("utf-8") == "a,b\n1,2\n"


def test_cancel_and_progress(run: Callable[..., Any], flights: Path) -> None:
    progressed = run(ParquetConvert, flights).progressed
    assert progressed == sorted(progressed)
    assert len(progressed) > 20
    for percent in (20, 60):
        with pytest.raises(TaskCancelled):
            run(ParquetConvert, flights, cancel_at=percent)


@pytest.mark.long
def test_memory_does_not_grow_with_the_file(memory_growth: Callable[..., int]) -> None:
    # Half of what the file grows by.
    assert memory_growth(ParquetConvert) < 5 * 1024**2
