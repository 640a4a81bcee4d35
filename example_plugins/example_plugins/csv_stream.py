"""Reads CSV files of any size block by block, and finds out what kind of values they hold."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pydantic import field_validator

from plugin_framework import Field, PluginConfig, PluginError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

BLOCK_SIZE = 2 * 1024 * 1024
"""Bytes read at a time. No row may be longer."""

OTHER_DELIMITERS = ",;\t|"

_OTHER_FORMATS = {
    b"PK\x03\x04": "ZIP",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PAR1": "Parquet",
    b"\x89PNG": "PNG",
    b"%PDF-": "PDF",
    b"\x7fELF": "ELF",
}


class CsvConfig(PluginConfig):
    """How a CSV file is written."""

    delimiter: str = Field(
        ",",
        pattern=r"^[\t -!#-~]$",
        title="Delimiter",
        description="The one character between two fields, such as a comma, a semicolon or a tab.",
    )
    encoding: str = Field(
        "utf-8",
        title="Encoding",
        description="The name of the text encoding, such as utf-8, latin-1, utf-16 or gb18030.",
    )
    null_values: list[str] = Field(
        ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"],
        max_length=100,
        title="Null values",
        description="Fields that read exactly so count as missing.",
    )
    max_columns: int = Field(
        5_000,
        ge=1,
        le=20_000,
        title="Most columns",
        description="Memory grows with the columns, to some 400 MiB for 5,000.",
    )
    max_failed_rows: int = Field(
        100_000,
        ge=0,
        le=1_000_000,
        title="Most failed rows",
        description="How many rows may have more or fewer fields than the header.",
    )

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        line = "a,b\n"
        try:
            encoding = codecs.lookup(encoding).name
            lines = (line.encode(encoding) * 2).decode(encoding)
        except (LookupError, UnicodeError):
            lines = ""
        # Not so where an encoding is none of text (hex), or of names only (punycode).
        if lines.replace("\ufeff", "") != line * 2:
            raise ValueError(f"no text encoding is called {encoding!r}")
        return encoding


class CsvReader:
    """A CSV file as blocks of text columns: a context manager, read once by ``blocks()``.

    Every field is text or null, so that no odd value can break the reading. A row with more or
    fewer fields than the header is counted in ``failed_rows`` and left out. Empty lines do not
    count at all.

    Attributes:
        names: of the columns, made unique: ``a, a`` gives ``a, a_2``; an empty one ``column_3``.
        size: of the file, in bytes.
        rows: read so far, without the failed ones.
        failed_rows: met so far.
    """

    def __init__(self, path: Path, config: CsvConfig) -> None:
        self._config = config
        self._path = path
        self._open_files = ExitStack()
        self._reader: Any = None
        self._blocks = 0
        self.names: list[str] = []
        self.size = path.stat().st_size
        self.rows = 0
        self.failed_rows = 0

    def __enter__(self) -> Self:
        _refuse_other_formats(self._path)
        with ExitStack() as opened:
            self.names = unique_names(self._open(opened))
            self._open_files = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open_files.close()

    @property
    def done(self) -> float:
        """The share of the file that has been read, 0 to 1; less for two-byte encodings."""
        # Where the file stands would not tell: Arrow reads several blocks ahead.
        return min(self._blocks * BLOCK_SIZE / max(self.size, 1), 1.0)

    def blocks(self) -> Iterator[pa.RecordBatch]:
        """The rows, in blocks of at most ``BLOCK_SIZE`` bytes.

        Raises:
            PluginError: the file cannot be decoded, a row is longer than a block, or more rows
                have failed than may.
        """
        while self._reader is not None:
            with self._readable_errors():
                try:
                    block = self._reader.read_next_batch()
                except StopIteration:
                    return
            self.rows += block.num_rows
            self._blocks += 1
            yield block

    def _open(self, opened: ExitStack) -> list[str]:
        file = opened.enter_context(self._path.open("rb"))
        with self._readable_errors():
            header = self._header()
            self._check(header)
            try:
                reader = arrow_csv.open_csv(file, **self._options())
            except pa.ArrowInvalid as error:
                if "Empty CSV" in str(error):
                    return header
                raise
            self._reader = opened.enter_context(reader)
            return list(reader.schema.names)

    def _options(self) -> dict[str, Any]:
        return {
            "read_options": arrow_csv.ReadOptions(
                block_size=BLOCK_SIZE, encoding=self._config.encoding
            ),
            "parse_options": arrow_csv.ParseOptions(
                delimiter=self._config.delimiter,
                newlines_in_values=True,
                invalid_row_handler=self._skip,
            ),
            "convert_options": arrow_csv.ConvertOptions(
                default_column_type=pa.string(),
                null_values=self._config.null_values,
                strings_can_be_null=True,
            ),
        }

    def _skip(self, _row: object) -> str:
        self.failed_rows += 1
        return "skip" if self.failed_rows <= self._config.max_failed_rows else "error"

    def _header(self) -> list[str]:
        """The names as they are written, at the price of one line: Arrow reads a block or more."""
        with self._path.open(encoding=self._config.encoding, newline="") as text:
            if text.read(1) != "\ufeff":
                text.seek(0)
            lines = iter(lambda: text.readline(BLOCK_SIZE), "")
            return next(filter(None, csv.reader(lines, delimiter=self._config.delimiter)), [])

    def _check(self, names: list[str]) -> None:
        if not names:
            raise PluginError("the file is empty: it has no line with the columns' names")
        if len(names) > self._config.max_columns:
            raise PluginError(
                f"the file has {len(names):,} columns; `max_columns` is "
                f"{self._config.max_columns:,}"
            )
        others = [mark for mark in OTHER_DELIMITERS if mark in names[0]]
        if len(names) == 1 and others:
            raise PluginError(
                f"the delimiter {self._config.delimiter!r} finds a single column, {names[0]!r:.80};"
                f" set `delimiter` to {' or '.join(map(repr, others))}"
            )

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except (UnicodeError, csv.Error, pa.ArrowInvalid) as error:
            raise PluginError(self._explain(error)) from error

    def _explain(self, error: Exception) -> str:
        if isinstance(error, csv.Error):
            return "a column's name is very long; is a quotation mark left open?"
        if "straddling" in str(error):
            limit = BLOCK_SIZE // 1024**2
            return f"a row is longer than {limit} MiB; is a quotation mark left open?"
        if self.failed_rows > self._config.max_failed_rows:
            return (
                f"more than {self._config.max_failed_rows:,} rows have another number of fields "
                "than the header; is `delimiter` right?"
            )
        # Arrow quotes a row that it could not decode with U+FFFD in the place of the odd bytes.
        if isinstance(error, UnicodeError) or "UTF8" in str(error) or "\ufffd" in str(error):
            return f"the file is not {self._config.encoding} text; set `encoding` to what it is"
        return f"the file cannot be read as CSV: {error!r:.200}"


def unique_names(names: Iterable[str]) -> list[str]:
    """The names in their order: numbered where they repeat, filled in where they are empty."""
    given = [name.strip() or f"column_{place}" for place, name in enumerate(names, 1)]
    taken, met, unique = set(given), Counter[str](), []
    for name in given:
        met[name] += 1
        unique_name = name
        if met[name] > 1:
            while (unique_name := f"{name}_{met[name]}") in taken:
                met[name] += 1
            taken.add(unique_name)
        unique.append(unique_name)
    return unique


class Kind(StrEnum):
    """What the values of a column are; in the order in which they are tried."""

    INTEGER = "integer"  # fits 64 bits
    NUMBER = "number"
    BOOLEAN = "boolean"  # true or false, in any case
    DATE = "date"  # 2013-01-31
    DATETIME = "datetime"  # 2013-01-31 10:00, to the microsecond
    DATETIME_UTC = "datetime with zone"  # 2013-01-31T10:00:00Z, or with an offset
    TEXT = "text"


ARROW_TYPES = {
    Kind.INTEGER: pa.int64(),
    Kind.NUMBER: pa.float64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.DATE: pa.date32(),
    Kind.DATETIME: pa.timestamp("us"),
    Kind.DATETIME_UTC: pa.timestamp("us", "UTC"),
    Kind.TEXT: pa.string(),
}

NUMERIC = {Kind.INTEGER, Kind.NUMBER}
TEMPORAL = {Kind.DATE, Kind.DATETIME, Kind.DATETIME_UTC}

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)

# A leading zero or plus is part of a code (a ZIP code, a telephone number), not of a number.
_WHOLE = r"^-?(0|[1-9][0-9]*)$"
_PATTERNS = {
    Kind.INTEGER: _WHOLE,
    Kind.NUMBER: r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$",
    Kind.BOOLEAN: r"(?i)^(true|false)$",
}

_WIDER = {
    Kind.INTEGER: Kind.NUMBER,
    Kind.NUMBER: Kind.TEXT,
    Kind.BOOLEAN: Kind.TEXT,
    Kind.DATE: Kind.DATETIME,
    Kind.DATETIME: Kind.TEXT,
    Kind.DATETIME_UTC: Kind.TEXT,
}


class KindGuess:
    """The narrowest kind that all values of a column have, whatever order they come in.

    Whole numbers beyond 64 bits make text of a column, because a float would lose their digits.
    """

    def __init__(self) -> None:
        self._kind: Kind | None = None

    @property
    def kind(self) -> Kind:
        """The kind of all values so far; text where there were none."""
        return self._kind or Kind.TEXT

    def parse(self, values: pa.Array) -> pa.Array:
        """Take in texts without nulls, and return them as values of the kind they now have."""
        if not len(values):
            return values
        kind = self._kind or Kind.INTEGER
        while (parsed := _parse_strictly(values, kind)) is None:
            kind = self._next(kind)
        self._kind = kind
        return parsed

    def _next(self, kind: Kind) -> Kind:
        if self._kind is None:
            kinds = list(Kind)
            return kinds[kinds.index(kind) + 1]
        return _WIDER[kind]


def _refuse_other_formats(path: Path) -> None:
    with path.open("rb") as file:
        begins = file.read(8)
    for magic, kind in _OTHER_FORMATS.items():
        if begins.startswith(magic):
            raise PluginError(f"the input is in the format {kind}, not CSV: convert or unpack it")


def parse(texts: pa.Array, kind: Kind) -> pa.Array:
    """Texts as values of a kind that they are known to have; nulls stay nulls."""
    if kind is Kind.TEXT:
        return texts
    return pc.utf8_trim_whitespace(texts).cast(ARROW_TYPES[kind])


def _parse_strictly(texts: pa.Array, kind: Kind) -> pa.Array | None:
    """As ``parse``, or None where a text is not of this kind."""
    if kind is Kind.TEXT:
        return texts
    trimmed = pc.utf8_trim_whitespace(texts)
    pattern = _PATTERNS.get(kind)
    if pattern and not pc.all(pc.match_substring_regex(trimmed, pattern)).as_py():
        return None
    try:
        if kind is Kind.NUMBER:
            trimmed.filter(pc.match_substring_regex(trimmed, _WHOLE)).cast(pa.int64())
        parsed = trimmed.cast(ARROW_TYPES[kind])
    except pa.ArrowInvalid:
        return None
    return parsed if kind not in TEMPORAL or _in_years_1_to_9999(parsed) else None


def _in_years_1_to_9999(times: pa.Array) -> bool:
    """Whether Python can read these dates or times, which Arrow writes for other years as well."""
    times = times.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    early, late = pc.less(times, EARLIEST), pc.greater(times, LATEST)
    return not pc.any(pc.or_(early, late)).as_py()
