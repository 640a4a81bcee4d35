"""The steps of ``dedupe-records``: each runs DuckDB in a process of its own.

``python -m example_plugins.dedupe_steps STEP`` takes an ``Order`` as JSON on stdin and prints what
it counted as JSON. What people can mend ends it with ``EXIT_PROBLEM`` and one line on stderr.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from functools import cached_property
from glob import escape
from pathlib import Path

import duckdb

from example_plugins.csv_header import Header, HeaderError, read_header
from example_plugins.dedupe_plan import EXIT_PROBLEM, Counts, Order, Plan

ROW_GROUP = 10_000
"""Rows that DuckDB gathers before it writes them: what it needs memory for."""
BUFFER_BYTES = 8 * 1024 * 1024
"""Read at a time of a CSV file."""
LONGEST_ROW = BUFFER_BYTES // 4
"""Bytes; a longer one cannot be read."""
SPLIT_MB = 128
"""Memory that each thread of the first step is given, if there is more than one."""

FIRST_FAILURE = "FROM reject_errors SELECT line, error_message ORDER BY line LIMIT 1"
OPEN_QUOTES = """
    FROM reject_errors SELECT line, length(csv_line) - length(replace(csv_line, '"', '')) AS quotes
    WHERE error_type = 'UNQUOTED VALUE' AND (quotes = 0 OR quotes % 2 = 1) ORDER BY line LIMIT 1
"""
"""DuckDB shows of such a row its beginning, or, where it is too long, what comes after it."""


class ProblemError(Exception):
    """One line that tells people what to mend."""


class Database:
    """A DuckDB that knows the plan, with a part of the plan's memory."""

    def __init__(self, plan: Plan, *, threads: int, share: int = 1) -> None:
        self.plan = plan
        self._connection = duckdb.connect(
            config={
                "autoinstall_known_extensions": False,
                "memory_limit": f"{plan.memory_mb // share}MB",
                "temp_directory": str(plan.folder / f"spill-{os.getpid()}"),
                "threads": threads,
            }
        )

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """What ``sql`` gives."""
        return self._connection.execute(sql).fetchall()

    def count(self, sql: str) -> int:
        """The one number that ``sql`` gives: of a COPY, how many rows it wrote."""
        ((number,),) = self.rows(sql)
        return int(str(number))

    @property
    def source(self) -> str:
        """The input as SQL; every field of a CSV file is text, so that it stays as it is."""
        if self.plan.format == "parquet":
            return f"read_parquet({files(self.plan.source)})"
        columns = ", ".join(f"{text(name)}: 'VARCHAR'" for name in self.columns)
        return (
            f"read_csv({files(self.plan.source)}, auto_detect=false, columns={{{columns}}},"
            f" header=false, skip={self.header.skipped + 1}, comment='',"
            f" delim={text(self.plan.delimiter)}, quote='\"', escape='\"',"
            f" store_rejects=true, rejects_limit={self.plan.max_failed_rows + 1},"
            f" buffer_size={BUFFER_BYTES}, max_line_size={LONGEST_ROW})"
        )

    @cached_property
    def header(self) -> Header:
        """The header of a CSV file."""
        return read_header(self.plan.source, self.plan.delimiter, LONGEST_ROW)

    @cached_property
    def columns(self) -> dict[str, str]:
        """The type of each column of the input, by its name."""
        if self.plan.format == "csv":
            return dict.fromkeys(self.header.columns, "VARCHAR")
        return {str(row[0]): str(row[1]) for row in self.rows(f"DESCRIBE FROM {self.source}")}

    @cached_property
    def row_number(self) -> str:
        """The column, besides the input's own, with each row's place in the input."""
        return self._new_column("row_number")

    @cached_property
    def part_number(self) -> str:
        """The column, besides the input's own, with the part that a row is in."""
        return self._new_column("part_number")

    @property
    def key(self) -> str:
        """What makes rows equal, as SQL."""
        names = self.plan.keys or list(self.columns)
        unknown = [name for name in names if name not in self.columns]
        if unknown:
            known = ", ".join(self.columns)
            raise ProblemError(f"there is no column {unknown[0]!r:.80}; there are: {known:.500}")
        return ", ".join(map(self._compared, names))

    def _compared(self, name: str) -> str:
        value = quoted(name)
        if self.columns[name] != "VARCHAR":
            return value
        if self.plan.ignore_spaces:
            value = rf"trim(regexp_replace({value}, '\s+', ' ', 'g'))"
        return f"lower({value})" if self.plan.ignore_case else value

    def _new_column(self, name: str) -> str:
        taken = {column.casefold() for column in self.columns}
        while name in taken:
            name += "_"
        return quoted(name)


def split(order: Order) -> Counts:
    """Split the input's rows into parts, as Parquet files in ``split``."""
    plan = order.plan
    database = Database(plan, threads=max(1, min(plan.processes, plan.memory_mb // SPLIT_MB)))
    made, whole = plan.folder / "splitting", plan.folder / "split"
    for folder in (made, whole):
        shutil.rmtree(folder, ignore_errors=True)
    rows = database.count(
        f"COPY (FROM {database.source} SELECT *, row_number() OVER () AS {database.row_number},"
        f" hash({database.key}) % {plan.parts} AS {database.part_number}) TO {text(made)}"
        f" (FORMAT parquet, PARTITION_BY ({database.part_number}), ROW_GROUP_SIZE {ROW_GROUP})"
    )
    failed = failed_rows(database, rows) if plan.format == "csv" else 0
    made.mkdir(exist_ok=True)  # without rows there is none
    os.sync()  # the state must not tell of what a power cut takes away
    made.rename(whole)
    return {"rows": rows, "failed_rows": failed}


def failed_rows(database: Database, rows: int) -> int:
    """How many rows of a CSV file could not be read, besides those that could.

    Raises:
        ProblemError: they are too many, all, or swallowed what follows them.
    """
    for line, _ in database.rows(OPEN_QUOTES):
        raise ProblemError(
            f"line {line} has a quotation mark that is not closed, and what follows cannot be"
            ' told from it: close it, or write "" for one within a field'
        )
    failed = database.count("FROM reject_errors SELECT count(DISTINCT line)")
    most = database.plan.max_failed_rows
    if failed > most or (failed and not rows):
        ((line, cause),) = database.rows(FIRST_FAILURE)
        many = f"more than {most:,} rows cannot" if failed > most else "no row can"
        raise ProblemError(
            f"{many} be read, the first in line {line}: {one_line(str(cause))}; is the file UTF-8,"
            " and `delimiter` right?"
        )
    return failed


def deduplicate(order: Order) -> Counts:
    """Write the rows of a part that stay, as a Parquet file in ``unique``."""
    plan = order.plan
    database = Database(plan, threads=1, share=plan.processes)
    made = plan.folder / f"part-{order.part}"
    first = "ASC" if plan.keep == "first" else "DESC"
    part = files(plan.folder / "split", f"*={order.part}", "*.parquet")
    rows = database.count(
        f"COPY (FROM read_parquet({part}, hive_partitioning=false)"
        f" QUALIFY row_number() OVER (PARTITION BY {database.key}"
        f" ORDER BY {database.row_number} {first}) = 1)"
        f" TO {text(made)} (FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP})"
    )
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.rename(plan.folder / "unique" / f"{order.part}.parquet")
    return {"rows": rows}


def join(order: Order) -> Counts:
    """Write what stays of all parts, in the input's order and format, as ``joined``."""
    plan = order.plan
    database = Database(plan, threads=1)
    joined, unique = plan.folder / "joined", plan.folder / "unique"
    rows = f"FROM {database.source} LIMIT 0"
    if any(unique.iterdir()):
        rows = (
            f"FROM read_parquet({files(unique, '*.parquet')}, hive_partitioning=false)"
            f" SELECT * EXCLUDE ({database.row_number}) ORDER BY {database.row_number}"
        )
    elif plan.format == "csv":
        joined.write_text(f"{database.header.text}\n", encoding="utf-8", newline="")
        return {"rows": 0}
    options = "FORMAT parquet, COMPRESSION zstd"
    if plan.format == "csv":
        # DuckDB would write its own names: the prefix is the input's header, the suffix a line end.
        header = text(f"{database.header.text}\n")
        delimiter = text(plan.delimiter)
        options = f"FORMAT csv, HEADER false, PREFIX {header}, SUFFIX '\n', DELIMITER {delimiter}"
    return {"rows": database.count(f"COPY ({rows}) TO {text(joined)} ({options})")}


STEPS = {"split": split, "deduplicate": deduplicate, "join": join}


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str | Path) -> str:
    """A text in SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def files(path: Path, *patterns: str) -> str:
    """What to read, in SQL: ``path`` is no pattern, whatever its name."""
    return text("/".join([escape(str(path)), *patterns]))


def main(step: str) -> None:
    """Take one step."""
    order = Order.model_validate_json(sys.stdin.read())
    try:
        counts = STEPS[step](order)
    except (ProblemError, HeaderError) as error:
        _fail(str(error))
    except duckdb.Error as error:
        _fail(problem(error, order.plan))
    finally:
        shutil.rmtree(order.plan.folder / f"spill-{os.getpid()}", ignore_errors=True)
    print(json.dumps(counts))  # noqa: T201 - its one result


def problem(error: duckdb.Error, plan: Plan) -> str:
    """What DuckDB says, and what to do about it, in one line."""
    said = str(error).replace(escape(str(plan.source)), "it").replace(str(plan.source), "it")
    cause = one_line(said.partition("Error: ")[2] or said)
    if "No space left" in said or "max_temp_directory_size" in said:
        return f"the disk is full: make room for twice the input: {cause}"
    if isinstance(error, duckdb.OutOfMemoryException):
        return "`memory_mb` is too small for this input"
    if "invalid state" in said:
        return (
            f"the input cannot be read as csv: lines end in different ways, some with CR LF: give"
            f" all the same end, as dos2unix does ({cause})"
        )
    if isinstance(error, duckdb.InvalidInputException) or "TProtocol" in said:
        return f"the input cannot be read as {plan.format}: {cause}"
    return f"DuckDB cannot do it: {cause}"


def one_line(message: str) -> str:
    """What DuckDB says before it lists what could be set."""
    told = re.split(r"Possible (?:fixes|Solution)|\n\s*\n|\nLINE ", message, maxsplit=1)[0]
    return " ".join(told.split())[:500]


def _fail(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 - who started it passes it on
    raise SystemExit(EXIT_PROBLEM)


if __name__ == "__main__":
    main(*sys.argv[1:])
