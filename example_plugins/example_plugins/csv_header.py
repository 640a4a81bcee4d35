"""The header of a CSV file, read as it stands: what it is read by changes names that are odd."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOM = "\ufeff"


class HeaderError(Exception):
    """The header cannot be read: one line on what to mend."""


@dataclass(frozen=True, slots=True)
class Header:
    """``text`` is the header without its line end; ``skipped`` empty lines come before it."""

    text: str
    cells: tuple[str, ...]
    skipped: int

    @property
    def columns(self) -> list[str]:
        """A name for each cell: its own, or one with a number if that is empty, or taken.

        Capitals make no difference, as they make none in SQL.
        """
        names: dict[str, str] = {}
        for number, cell in enumerate(self.cells):
            name = first = cell.strip() or f"column{number}"
            again = 0
            while name.lower() in names:
                again += 1
                name = f"{first}_{again}"
            names[name.lower()] = name
        return list(names.values())


def read_header(path: Path, delimiter: str, most: int) -> Header:
    """The header of a CSV file, of up to ``most`` characters.

    Raises:
        HeaderError: it is not UTF-8, has an open quotation mark, is too long, or missing.
    """
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        begins = file.read(most)
    taken: list[str] = []
    rows = csv.reader(
        _noted(begins.removeprefix(BOM), taken),
        delimiter=delimiter,
        strict=True,
        skipinitialspace=True,
    )
    skipped = 0
    try:
        while not (cells := next(rows)):
            skipped += 1
            taken.clear()
    except StopIteration:
        raise HeaderError("the file has no line with the columns' names") from None
    except csv.Error as error:
        raise HeaderError(f"the line with the columns' names cannot be read: {error}") from None
    text = "".join(taken).rstrip("\r\n")
    _check(text, begins, most)
    return Header(BOM * begins.startswith(BOM) + text, tuple(cells), skipped)


def _noted(text: str, lines: list[str]) -> Iterator[str]:
    for line in StringIO(text, newline=""):
        lines.append(line)
        yield line


def _check(header: str, begins: str, most: int) -> None:
    if not header.isascii() and any("\udc80" <= character <= "\udcff" for character in header):
        raise HeaderError("the columns' names are not UTF-8: convert the file to UTF-8")
    if len(begins) == most and begins.removeprefix(BOM).strip("\r\n") == header:
        raise HeaderError(f"the line with the columns' names is longer than {most:,} characters")
    if begins.startswith(BOM) and ("\n" in header or "\r" in header):
        # DuckDB takes a quotation mark after it for a part of the name.
        raise HeaderError("a line end in a column's name, after a byte order mark: remove the mark")
