from __future__ import annotations

import csv
import gzip
import json
import random
import sys
import tracemalloc
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from example_plugins.column_summary import DistinctCount, Histogram, TopValues
from example_plugins.csv_profile import CsvProfile
from PIL import Image

from plugin_framework import PluginError, TaskCancelled

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def profile(run: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Runs the plugin and returns the profile, its columns by name."""

    def start(source: Path | bytes | str, **config: Any) -> dict[str, Any]:
        if isinstance(source, str):
            source = source.encode()
        outputs = run(CsvProfile, source, **{"picture": "none", **config}).outputs
        found: dict[str, Any] = json.loads((outputs / "profile.json").read_text())
        found["columns"] = {column["name"]: column for column in found["columns"]}
        return found

    return start


def test_flights_agree_with_pandas(profile: Callable[..., Any], flights: Path) -> None:
    table = pd.read_csv(flights)
    found = profile(flights)
    assert (found["rows"], found["failed_rows"], len(found["columns"])) == (336_776, 0, 19)
    for name, column in found["columns"].items():
        expected = table[name]
        assert column["nulls"] == expected.isna().sum()
        assert (column["distinct_texts"], column["distinct_texts_are_exact"]) == (
            expected.nunique(),
            True,
        )
        if column["type"] == "integer":
            assert (column["min"], column["max"]) == (expected.min(), expected.max())
            assert column["mean"] == pytest.approx(expected.mean(), rel=1e-12)
            counts, _ = np.histogram(expected.dropna(), column["histogram"]["edges"])
            assert column["histogram"]["counts"] == counts.tolist()
            assert len(counts) <= 60
    types = {name: column["type"] for name, column in found["columns"].items()}
    texts = {name for name, kind in types.items() if kind == "text"}
    assert texts == {"carrier", "tailnum", "origin", "dest"}
    assert types["time_hour"] == "datetime with zone"
    assert found["columns"]["time_hour"]["min"] == "2013-01-01T10:00:00Z"


@pytest.mark.parametrize("table", ["airlines", "airports", "planes", "weather"])
def test_small_tables_agree_with_the_csv_module(
    profile: Callable[..., Any], nycflights: Path, table: str
) -> None:
    path = nycflights / f"{table}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = profile(path)
    assert found["rows"] == len(rows)
    for name, column in found["columns"].items():
        values = [row[name] for row in rows if row[name] not in {"", "NA"}]
        assert column["nulls"] == len(rows) - len(values)
        assert column["distinct_texts"] == len(set(values))
        if column["type"] in {"integer", "number"}:
            numbers = [float(value) for value in values]
            assert (column["min"], column["max"]) == (min(numbers), max(numbers))
            assert column["mean"] == pytest.approx(sum(numbers) / len(numbers))
            assert sum(column["histogram"]["counts"]) == len(numbers)
        elif column["type"] == "text":
            counts = Counter(values)
            ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20]
            histogram = column["histogram"]
            assert list(zip(histogram["values"], histogram["counts"], strict=True)) == ranked


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", "0"], "integer"),
        (["1", "2.5", "1e3"], "number"),
        (["9223372036854775807", "0.5"], "number"),
        (["9223372036854775808", "0.5"], "text"),
        (["0.5", "9223372036854775808"], "text"),
        (["02134", "10001"], "text"),
        (["+491701234567"], "text"),
        (["0x1F"], "text"),
        (["inf", "1.0"], "text"),
        (["true", "FALSE"], "boolean"),
        (["1", "true"], "text"),
        (["2013-01-31"], "date"),
        (["2013-02-30"], "text"),
        (["2013-01-31", "2013-01-31 10:00"], "datetime"),
        (["2013-01-31T10:00:00+02:00"], "datetime with zone"),
        (["2013-01-31", "20130131"], "text"),
        (["NA", ""], "text"),
        ([" 7", "8 "], "integer"),
    ],
)
def test_types(profile: Callable[..., Any], values: list[str], kind: str) -> None:
    for order in (values, values[::-1]):
        rows = "".join(f"1,{value}\n" for value in order)
        assert profile(f"id,value\n{rows}")["columns"]["value"]["type"] == kind


def test_a_late_odd_value_turns_numbers_into_text(profile: Callable[..., Any]) -> None:
    rows = "".join(f"{number % 50}\n" for number in range(2_000_000)) + "odd\n"
    column = profile("value\n" + rows)["columns"]["value"]
    assert (column["type"], column["distinct_texts"]) == ("text", 51)
    assert column["histogram"]["counts"][0] == 40_000


def test_byte_order_mark_and_quoted_newlines(profile: Callable[..., Any]) -> None:
    found = profile(b'\xef\xbb\xbfname,note\n"a","one\ntwo, three"\nb,"say ""hi"""\n')
    assert list(found["columns"]) == ["name", "note"]
    assert found["columns"]["note"]["histogram"]["values"] == ["one\ntwo, three", 'say "hi"']


def test_ragged_rows_are_counted(run: Callable[..., Any]) -> None:
    result = run(CsvProfile, b"a,b\n1,2\n3\n4,5,6\n7,8\n", picture="none").result
    assert result == {
        "total_counts": 4, "success_counts": 2, "failed_counts": 2, "columns": 2
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_other_encodings(profile: Callable[..., Any], encoding: str) -> None:
    found = profile("naïve,b\ncafé,2\n".encode(encoding), encoding=encoding)
    assert found["columns"]["naïve"]["histogram"]["values"] == ["café"]


@pytest.mark.parametrize(
    ("data", "config", "message"),
    [
        (b"", {}, "empty"),
        (b"\n\n", {}, "empty"),
        (b"PK\x03\x04rest", {}, "in the format ZIP, not CSV: convert or unpack it"),
        (b"a,b\ncaf\xe9,1\n", {}, "encoding"),
        (b"caf\xe9,b\n1,1\n", {}, "encoding"),
        (b"caf\xe9,b", {}, "encoding"),
        (b"a,b\n\x81,1\n", {"encoding": "cp1252"}, "encoding"),
        (b"a;b\n1;2\n", {}, "delimiter"),
        (b"a,b\n" + b"x\n" * 11, {"max_failed_rows": 10}, "another number of fields"),
        (b'a,b\n"' + b"x,1\n" * 2_000_000, {}, "quotation mark"),
        (b'a,"b\n' + b"x,1\n" * 200_000, {}, "quotation mark"),
    ],
)
def test_unreadable_files(
    run: Callable[..., Any], data: bytes, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(PluginError, match=message):
        run(CsvProfile, data, **config)


@pytest.mark.parametrize("data", [b"a,b\n", b"a,b"])
@pytest.mark.parametrize("picture", ["png", "svg"])
def test_header_only(run: Callable[..., Any], data: bytes, picture: str) -> None:
    done = run(CsvProfile, data, picture=picture)
    assert done.result["total_counts"] == 0
    assert done.result["columns"] == 2
    assert (done.outputs / f"profile.{picture}").stat().st_size > 1000


def test_duplicate_and_empty_names(profile: Callable[..., Any]) -> None:
    found = profile("a,a,a_2,,a\n1,2,3,4,5\n")
    assert list(found["columns"]) == ["a", "a_3", "a_2", "column_4", "a_4"]


def test_thousands_of_columns(run: Callable[..., Any]) -> None:
    header = ",".join(f"column{number}" for number in range(3000))
    row = ",".join(["17"] * 3000)
    done = run(CsvProfile, f"{header}\n{row}\n{row}\n".encode())
    assert done.result["columns"] == 3000
    with Image.open(done.outputs / "profile.png") as picture:
        assert picture.height < 5000


def test_long_fields_are_shortened(profile: Callable[..., Any]) -> None:
    found = profile("id,text\n1," + "x" * 1_000_000 + "\n2,\n")
    assert found["columns"]["text"]["histogram"]["values"] == ["x" * 99 + "…"]


def test_extreme_numbers_stay_json(profile: Callable[..., Any]) -> None:
    column = profile("v\n1e308\n1.7e308\n-1.7e308\n5e-324\n1e999\n")["columns"]["v"]
    assert (column["min"], column["max"]) == (-1.7e308, 1.7e308)
    assert sum(column["histogram"]["counts"]) == 4


def test_picture_of_awkward_names_and_values(run: Callable[..., Any]) -> None:
    data = b'US $ and $\\frac{,"two\nlines",empty\n$x_$,a\tb,\n$x_$,true,\n'
    done = run(CsvProfile, data)
    with Image.open(done.outputs / "profile.png") as picture:
        picture.verify()


def test_progress_rises_and_ends_at_100(run: Callable[..., Any], flights: Path) -> None:
    progressed = run(CsvProfile, flights).progressed
    assert progressed == sorted(progressed)
    assert len(progressed) > 10
    assert progressed[-1] == 100


def test_cancel(run: Callable[..., Any], flights: Path) -> None:
    with pytest.raises(TaskCancelled):
        run(CsvProfile, flights, cancel_at=20)


@pytest.mark.long
def test_memory_does_not_grow_with_the_file(memory_growth: Callable[..., int]) -> None:
    # Half of what the file grows by.
    assert memory_growth(CsvProfile, picture="none") < 5 * 1024**2


@pytest.mark.long
def test_memory_of_the_most_columns(peak_memory: Callable[..., int], tmp_path: Path) -> None:
    most = CsvProfile.Config().max_columns
    source = random.Random(7)
    with (tmp_path / "wide.csv").open("w") as file:
        file.write(",".join(f"column{number}" for number in range(most)) + "\n")
        for _ in range(10):
            file.write(",".join(source.randbytes(40).hex() for _ in range(most)) + "\n")
    assert peak_memory(CsvProfile, tmp_path / "wide.csv", picture="none") < 400 * 1024**2


@pytest.mark.parametrize("ending", ["", "\n", "\n1,2\n"])
def test_too_many_columns_are_refused_at_once(run: Callable[..., Any], ending: str) -> None:
    header = ",".join(["a"] * 300_000) + ending
    tracemalloc.start()
    try:
        with pytest.raises(PluginError, match="300,000 columns; `max_columns` is 5,000"):
            run(CsvProfile, header.encode())
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024**2
    finally:
        tracemalloc.stop()


def test_most_columns_can_be_set(run: Callable[..., Any]) -> None:
    names = b'\xef\xbb\xbf\n"a\n,",b,c\n1,2,3\n'
    assert run(CsvProfile, names, picture="none", max_columns=3).result["columns"] == 3
    with pytest.raises(PluginError, match="3 columns; `max_columns` is 2"):
        run(CsvProfile, names, picture="none", max_columns=2)


def test_distinct_texts_are_not_values(profile: Callable[..., Any]) -> None:
    columns = profile("a,b\n0,1.0\n-0,1.00\n0,1.0\n")["columns"]
    assert [columns[name]["type"] for name in "ab"] == ["integer", "number"]
    assert [columns[name]["distinct_texts"] for name in "ab"] == [2, 2]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("0001-01-01T00:00:00.000001", "9999-12-31T23:59:59.999999"),
        ("0001-01-01T00:00:00.000001Z", "9999-12-31T23:59:59.999999Z"),
        ("0001-01-01", "9999-12-31"),
    ],
)
def test_times_keep_their_fractions(profile: Callable[..., Any], low: str, high: str) -> None:
    column = profile(f"id,time\n1,{high}\n2,{low}\n")["columns"]["time"]
    assert (column["min"], column["max"]) == (low, high)
    assert sum(column["histogram"]["counts"]) == 2


@pytest.mark.parametrize("encoding", ["rot13", "hex", "punycode", "undefined", "zlib", "nonsense"])
def test_encodings_that_are_none_of_text(encoding: str) -> None:
    with pytest.raises(ValueError, match="no text encoding"):
        CsvProfile.Config(encoding=encoding)


@pytest.mark.parametrize("name", ["utf-8-sig", "UTF_16", "utf-7", "gb18030", "cp037", "shift-jis"])
def test_encodings_of_text(profile: Callable[..., Any], name: str) -> None:
    assert list(profile("a,b\n1,2\n".encode(name), encoding=name)["columns"]) == ["a", "b"]


PICTURE = BytesIO()
Image.effect_noise((99, 99), 50).save(PICTURE, "PNG")


# Arrow complains aside of a row that it cannot decode, before it raises.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"a,b\n1,2\n" * 1000),
        PICTURE.getvalue(),
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\nstream\n\x00\x9b,\x1b,\r\n",
        Path(sys.executable).read_bytes()[:500_000],
    ],
    ids=["gzip", "PNG", "PDF", "ELF"],
)
def test_other_formats(run: Callable[..., Any], data: bytes, encoding: str) -> None:
    with pytest.raises(PluginError, match=r"in the format \w+, not CSV") as caught:
        run(CsvProfile, data, encoding=encoding)
    assert str(caught.value).isprintable()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as above
@pytest.mark.parametrize("odd", [b"caf\xe9,1,\x1b[31m\n", b"\x00\x01\xff,2,3\n"])
def test_binary_rows_are_not_quoted(run: Callable[..., Any], odd: bytes) -> None:
    with pytest.raises(PluginError, match="is not utf-8 text") as caught:
        run(CsvProfile, b"a,b\n" + b"1,2\n" * 9000 + odd)
    assert str(caught.value).isprintable()


def test_distinct_count_is_exact_and_then_estimated() -> None:
    count = DistinctCount(1000)
    count.add([str(number) for number in range(1000)])
    assert (count.count, count.exact) == (1000, True)
    for start in range(0, 200_000, 5000):
        count.add([str(number) for number in range(start, start + 10_000)])
    assert not count.exact
    assert count.count == pytest.approx(205_000, rel=0.1)


def test_top_values_keep_the_frequent_ones() -> None:
    top = TopValues(100)
    for block in range(200):
        rare = [f"{block}-{number}" for number in range(40)]
        top.add(["often", *rare], np.array([5, *[1] * 40]))
    assert top.most_common(1) == (["often"], [1000])
    assert not top.exact


@pytest.mark.parametrize("seed", range(20))
def test_histogram_agrees_with_numpy(seed: int) -> None:
    source = np.random.default_rng(seed)
    scales = 10.0 ** source.integers(-8, 8, 10)
    blocks = [source.normal(source.normal(), scale, 500) for scale in scales]
    histogram = Histogram(50)
    for block in blocks:
        histogram.add(block, np.ones(500, np.int64))
    values = np.concatenate(blocks)
    counts, _ = np.histogram(values, histogram.edges)
    assert histogram.counts.tolist() == counts.tolist()
    assert 25 <= len(counts) <= 50
    assert histogram.edges[0] <= values.min() < histogram.edges[1]


@pytest.mark.parametrize("values", [[0.0], [5.0], [0.0, 1e-300], [-1e308, 1e308], [0.0, 1e300]])
def test_histogram_of_few_values(values: list[float]) -> None:
    histogram = Histogram(10)
    for value in values:
        histogram.add(np.array([value]), np.array([2]))
    assert histogram.counts.sum() == 2 * len(values)
    assert len(histogram.counts) <= 10
