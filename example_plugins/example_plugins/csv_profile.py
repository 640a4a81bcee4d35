"""Profiles a CSV file: what its columns hold, in figures and in a picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from example_plugins.column_summary import ColumnSummary
from example_plugins.csv_stream import CsvConfig, CsvReader
from plugin_framework import DatahubPlugin, Field, TaskContext, TaskResult

if TYPE_CHECKING:
    from pathlib import Path

VALUES_IN_MEMORY = 250_000
"""Distinct values held for all columns together, so that thousands of columns fit as well."""

TOP_VALUES = 20


class CsvProfile(DatahubPlugin):
    """Profiles a CSV file of any size: types, gaps, distinct values, histograms."""

    class Config(CsvConfig):
        """What to count, and what to draw."""

        max_distinct: int = Field(
            10_000,
            ge=100,
            le=1_000_000,
            title="Distinct texts counted exactly",
            description="For each column; beyond it their number is estimated, to about 1%. "
            "Texts, not values: 1.0 and 1.00 are two.",
        )
        bins: int = Field(
            60,
            ge=4,
            le=400,
            title="Bins",
            description="The most bins that a histogram has.",
        )
        picture: Literal["png", "svg", "none"] = Field(
            "png", title="Picture", description="The format of the picture of all columns."
        )

    def process(self, ctx: TaskContext[Config]) -> TaskResult:
        """Read the input once, then write ``profile.json`` and the picture."""
        source = ctx.download()
        with CsvReader(source, ctx.config) as reader:
            columns = summarise(reader, ctx)
        write_profile(ctx.output_dir / "profile.json", source.name, reader, columns)
        if ctx.config.picture != "none":
            draw(ctx, source.name, reader, columns)
        return TaskResult(
            total_counts=reader.rows + reader.failed_rows,
            success_counts=reader.rows,
            failed_counts=reader.failed_rows,
            columns=len(columns),
        )


def summarise(reader: CsvReader, ctx: TaskContext[CsvProfile.Config]) -> list[ColumnSummary]:
    """A summary of each column, from one pass over the rows."""
    bound = min(ctx.config.max_distinct, max(VALUES_IN_MEMORY // len(reader.names), 50))
    columns = [
        ColumnSummary(name, max_distinct=bound, bins=ctx.config.bins) for name in reader.names
    ]
    for block in reader.blocks():
        for summary, values in zip(columns, block.columns, strict=True):
            ctx.checkpoint()
            summary.add(values)
        ctx.progress(95 * reader.done)
    return columns


def write_profile(path: Path, source: str, reader: CsvReader, columns: list[ColumnSummary]) -> None:
    """Write the profile as JSON."""
    profile = {
        "file": source,
        "rows": reader.rows,
        "failed_rows": reader.failed_rows,
        "columns": [summary.as_json(TOP_VALUES) for summary in columns],
    }
    path.write_text(json.dumps(profile, ensure_ascii=False, allow_nan=False, indent=1), "utf-8")


def draw(
    ctx: TaskContext[CsvProfile.Config],
    source: str,
    reader: CsvReader,
    columns: list[ColumnSummary],
) -> None:
    """Draw the columns into ``profile.png`` or ``profile.svg``."""
    # Here, so that a task without a picture does not wait for the import of matplotlib.
    from example_plugins.profile_picture import draw_profile  # noqa: PLC0415 - see above

    ctx.checkpoint()
    facts = f"{reader.rows:,} rows, {len(columns):,} columns"
    if reader.failed_rows:
        facts += f", {reader.failed_rows:,} failed rows"
    draw_profile(columns, ctx.output_dir / f"profile.{ctx.config.picture}", source, facts)
    ctx.progress(100)
