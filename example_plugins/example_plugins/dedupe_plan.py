"""What ``dedupe-records`` and its steps tell each other.

A module of its own: DuckDB is imported only where it runs, and so never before a fork.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel

EXIT_PROBLEM = 3
"""What a step exits with to say that its one line on stderr is for people."""

Counts = dict[str, int]


class Plan(BaseModel):
    """What is to be done: the same for all steps, and all attempts that go on with each other.

    The rows are split by a hash of what makes them equal. So rows that are equal are in the same
    part, and each part can be done for itself.
    """

    source: Path
    format: Literal["csv", "parquet"]
    delimiter: str
    folder: Path
    keys: list[str]
    keep: Literal["first", "last"]
    ignore_case: bool
    ignore_spaces: bool
    max_failed_rows: int
    parts: int
    memory_mb: int
    processes: int


class Order(BaseModel):
    """One step of a plan: for one part, if it is about one."""

    plan: Plan
    part: int = 0
