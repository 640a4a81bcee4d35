"""Summaries of a column that take bounded memory, however many values go in."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from example_plugins.csv_stream import EARLIEST, LATEST, NUMERIC, TEMPORAL, Kind, KindGuess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SHOWN_LENGTH = 100
"""Characters of a text value that a summary keeps."""

FLOAT_MAX = float(np.finfo(np.float64).max)
MICROSECONDS = 1_000_000
"""In a second."""


class ColumnSummary:
    """What there is to know of one column: its kind, gaps, distinct values and their spread.

    Every block is first boiled down to its distinct values and how often each occurs, and
    everything else is worked out from those: real columns repeat themselves.
    """

    def __init__(self, name: str, *, max_distinct: int, bins: int) -> None:
        self.name = name
        self.nulls = 0
        self._guess = KindGuess()
        self.distinct = DistinctCount(max_distinct)
        self.top = TopValues(max_distinct)
        self.spread = Spread(bins)

    @property
    def kind(self) -> Kind:
        """The kind of the values so far."""
        return self._guess.kind

    def add(self, column: pa.Array) -> None:
        """Take in a block of texts and nulls."""
        self.nulls += column.null_count
        counted = column.drop_null().value_counts()
        values, counts = counted.field("values"), counted.field("counts").to_numpy()
        parsed = self._guess.parse(values)
        texts = values.to_pylist()
        self.distinct.add(texts)
        self.top.add(texts, counts)
        if self.kind in NUMERIC:
            self.spread.add(parsed.to_numpy(), counts)
        elif self.kind in TEMPORAL:
            self.spread.add(_microseconds(parsed), counts, unit=MICROSECONDS)

    def as_json(self, top: int) -> dict[str, Any]:
        """The summary as JSON; of text and booleans, the ``top`` most frequent values."""
        summary = {
            "name": self.name,
            "type": str(self.kind),
            "nulls": self.nulls,
            "distinct_texts": self.distinct.count,
            "distinct_texts_are_exact": self.distinct.exact,
        }
        if self.kind in NUMERIC:
            return summary | self._numeric_json()
        if self.kind in TEMPORAL:
            return summary | self._temporal_json()
        values, counts = self.top.most_common(top)
        histogram = {"values": values, "counts": counts, "counts_are_exact": self.top.exact}
        return summary | {"histogram": histogram}

    def _numeric_json(self) -> dict[str, Any]:
        spread = self.spread
        edges, counts = spread.histogram.edges.tolist(), spread.histogram.counts.tolist()
        return {
            "min": spread.low,
            "max": spread.high,
            "mean": spread.mean,
            "histogram": {"edges": edges, "counts": counts},
        }

    def _temporal_json(self) -> dict[str, Any]:
        spread = self.spread
        # A bin may begin at any time of the day, whatever the values do.
        edge_kind = Kind.DATETIME if self.kind is Kind.DATE else self.kind
        edges = spread.histogram.edges * MICROSECONDS
        return {
            "min": as_time(spread.low or 0, self.kind),
            "max": as_time(spread.high or 0, self.kind),
            "histogram": {
                "edges": [as_time(edge, edge_kind) for edge in edges],
                "counts": spread.histogram.counts.tolist(),
            },
        }


class DistinctCount:
    """How many distinct texts there are: exact up to a limit, then an estimate.

    Texts, not what they mean: ``0`` and ``-0`` are two. A column of numbers may yet become text.

    Keeps the smallest hashes seen. Hashes are evenly spread, so how far the ``limit`` smallest
    reach tells how many there are in all; the standard error is 1 / sqrt(limit).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._smallest = np.zeros(0, np.uint64)
        self.exact = True

    def add(self, values: Sequence[str]) -> None:
        """Take in a block's distinct texts."""
        hashes = [blake2b(value.encode(), digest_size=8).digest() for value in values]
        merged = np.union1d(self._smallest, np.frombuffer(b"".join(hashes), np.uint64))
        self.exact = self.exact and len(merged) <= self._limit
        self._smallest = merged[: self._limit]

    @property
    def count(self) -> int:
        """The number of distinct texts, or its estimate."""
        if self.exact:
            return len(self._smallest)
        reach = int(self._smallest[-1]) / 2**64
        return round((self._limit - 1) / reach)


class TopValues:
    """The most frequent values. Beyond a limit the rare ones are forgotten now and then.

    Counts are then lower bounds, which ``exact`` tells. Long values are cut short.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[str] = Counter()
        self.exact = True

    def add(self, values: Sequence[str], counts: NDArray[np.int64]) -> None:
        """Take in a block's distinct values and how often each occurs."""
        if len(values) > self._limit:
            self.exact = False
        for place in np.argsort(-counts, kind="stable")[: self._limit].tolist():
            self._counts[shortened(values[place])] += int(counts[place])
        if len(self._counts) > self._limit:
            self._counts = Counter(dict(self._counts.most_common(self._limit // 2)))
            self.exact = False

    def most_common(self, number: int) -> tuple[list[str], list[int]]:
        """Values and counts, most frequent first, in alphabetical order where they tie."""
        ranked = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[:number]
        return [value for value, _ in ranked], [count for _, count in ranked]


class Spread:
    """Lowest, highest and mean value, and a histogram. Infinite values are left out."""

    def __init__(self, bins: int) -> None:
        self.histogram = Histogram(bins)
        self.low: float | int | None = None
        self.high: float | int | None = None
        self._sum = 0.0
        self._total = 0

    @property
    def mean(self) -> float | None:
        """The mean; None without values, and where their sum is beyond what a float holds."""
        return self._sum / self._total if self._total and math.isfinite(self._sum) else None

    def add(self, values: NDArray[Any], counts: NDArray[np.int64], unit: int = 1) -> None:
        """Take in a block's distinct values, integers or floats, and how often each occurs.

        The histogram's edges count ``unit``: a multiple of what the values count.
        """
        finite = np.isfinite(values)
        values, counts = values[finite], counts[finite]
        if not len(values):
            return
        low, high = values.min().item(), values.max().item()
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        self._total += int(counts.sum())
        with np.errstate(over="ignore"):
            self._sum += float(np.dot(values.astype(np.float64), counts))
        self.histogram.add(values if unit == 1 else values / unit, counts)


class Histogram:
    """Exact counts over bins, in one pass over values whose range is not known beforehand.

    A bin's width is a power of two, and its edges are multiples of that width. When a value lies
    outside the bins there can be, the width is doubled until it fits, and neighbours are merged
    in pairs: that is exact, where bins over any other grid would have to be split. The price is
    that the number of bins ends up between half of what was asked for and all of it, or less for
    integers, whose bins are at least 1 wide.
    """

    def __init__(self, bins: int) -> None:
        self._bins = bins
        self._exponent = -1100  # below the finest float: the first values set it
        self._first = 0
        self.counts = np.zeros(0, np.int64)

    @property
    def edges(self) -> NDArray[np.float64]:
        """The bins' edges: one more than there are bins, or none where there are no values."""
        if not len(self.counts):
            return np.zeros(0)
        places = np.arange(len(self.counts) + 1) + float(self._first)
        with np.errstate(over="ignore"):
            edges: NDArray[np.float64] = np.ldexp(places, self._exponent)
        return edges.clip(-FLOAT_MAX, FLOAT_MAX)

    def add(self, values: NDArray[Any], counts: NDArray[np.int64]) -> None:
        """Take in finite values, integers or floats, and how often each occurs."""
        if values.dtype.kind == "i":
            self._widen(0)
        values = values.astype(np.float64)
        low, high = float(values.min()), float(values.max())
        if len(self.counts):
            low, high = min(low, float(self.edges[0])), max(high, self._last_edge())
        self._widen(_finest_exponent(low, high, self._bins))
        while self._place(high) - self._place(low) >= self._bins:
            self._widen(self._exponent + 1)
        self._extend(self._place(low), self._place(high))
        places = np.floor(np.ldexp(values, -self._exponent)).astype(np.int64) - self._first
        np.add.at(self.counts, places, counts)

    def _last_edge(self) -> float:
        """The lower edge of the last bin: a value that is in it for sure."""
        return float(self.edges[-2])

    def _place(self, value: float) -> int:
        return math.floor(math.ldexp(value, -self._exponent))

    def _widen(self, exponent: int) -> None:
        """Make bins 2**exponent wide, if they are narrower."""
        doublings = exponent - self._exponent
        if doublings <= 0:
            return
        self._exponent = exponent
        if len(self.counts):
            places = (np.arange(len(self.counts)) + self._first) >> min(doublings, 63)
            self._first = int(places[0])
            self.counts = np.bincount(places - self._first, self.counts).astype(np.int64)

    def _extend(self, first: int, last: int) -> None:
        """Have bins from ``first`` to ``last``, new ones empty."""
        if not len(self.counts):
            self._first = first
        before = self._first - first
        after = last - first + 1 - before - len(self.counts)
        self.counts = np.pad(self.counts, (before, after))
        self._first = first


def _finest_exponent(low: float, high: float, bins: int) -> int:
    """The narrowest bins worth trying: they may span the range, and floats tell them apart."""
    largest = max(abs(low), abs(high))
    width = max((high / bins - low / bins) / 2, math.ldexp(largest, -50), 2.0**-1000)
    return math.frexp(width)[1] - 1


def _microseconds(times: pa.Array) -> NDArray[np.int64]:
    """Dates and times as microseconds since 1970: integers, because floats would round them."""
    numbers: NDArray[np.int64] = times.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    return numbers


def as_time(microseconds: float, kind: Kind) -> str:
    """Microseconds since 1970 in ISO 8601, within the years 1 to 9999."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    except OverflowError:  # the edge of a bin
        moment = LATEST if microseconds > 0 else EARLIEST
    if kind is Kind.DATE:
        return moment.date().isoformat()
    text = moment.replace(tzinfo=None).isoformat()
    return f"{text}Z" if kind is Kind.DATETIME_UTC else text


def shortened(text: str, length: int = SHOWN_LENGTH) -> str:
    """The text in at most ``length`` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
