"""Converts a CSV file to Parquet, with the types its columns turn out to have."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
from pyarrow import parquet

from example_plugins.csv_stream import ARROW_TYPES, CsvConfig, CsvReader, Kind, KindGuess, parse
from plugin_framework import DatahubPlugin, Field, TaskContext, TaskResult

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROW_GROUP_BYTES = 32 * 1024 * 1024
"""Size in memory at which a row group is written."""


class ParquetConvert(DatahubPlugin):
    """Converts a CSV file of any size to Parquet, with column types found from all its rows."""

    class Config(CsvConfig):
        """How to write the Parquet file."""

        compression: Literal["zstd", "snappy", "none"] = Field(
            "zstd",
            title="Compression",
            description="zstd makes the smallest files, snappy is read by the oldest programs.",
        )

    def process(self, ctx: TaskContext[Config]) -> TaskResult:
        """Read the input twice: to find the columns' types, and to convert the rows."""
        source = ctx.download()
        kinds = find_kinds(source, ctx)
        target = ctx.work_dir / "converted"
        rows, failed_rows = convert(source, target, kinds, ctx)
        uploaded = ctx.upload(target, PurePath(source.name).with_suffix(".parquet").name)
        return TaskResult(
            total_counts=rows + failed_rows,
            success_counts=rows,
            failed_counts=failed_rows,
            columns=len(kinds),
            types={name: str(kind) for name, kind in kinds.items()},
            bytes=uploaded.size,
        )


def find_kinds(source: Path, ctx: TaskContext[ParquetConvert.Config]) -> dict[str, Kind]:
    """The kind of each column, by its name. Takes the first half of the progress."""
    with CsvReader(source, ctx.config) as reader:
        guesses = [KindGuess() for _ in reader.names]
        for block in reader.blocks():
            for guess, column in zip(guesses, block.columns, strict=True):
                ctx.checkpoint()
                guess.parse(column.drop_null().unique())
            ctx.progress(45 * reader.done)
    return {name: guess.kind for name, guess in zip(reader.names, guesses, strict=True)}


def convert(
    source: Path, target: Path, kinds: dict[str, Kind], ctx: TaskContext[ParquetConvert.Config]
) -> tuple[int, int]:
    """Write ``source`` as Parquet into ``target``; returns how many rows it wrote, and failed."""
    schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in kinds.items()])
    with (
        CsvReader(source, ctx.config) as reader,
        parquet.ParquetWriter(target, schema, compression=ctx.config.compression) as writer,
    ):
        write_row_groups(writer, typed_blocks(reader, schema, kinds, ctx))
    return reader.rows, reader.failed_rows


def typed_blocks(
    reader: CsvReader,
    schema: pa.Schema,
    kinds: dict[str, Kind],
    ctx: TaskContext[ParquetConvert.Config],
) -> Iterator[pa.RecordBatch]:
    """The rows with their columns' types. Takes the second half of the progress."""
    for block in reader.blocks():
        columns = []
        for column, kind in zip(block.columns, kinds.values(), strict=True):
            ctx.checkpoint()
            columns.append(parse(column, kind))
        yield pa.record_batch(columns, schema)
        ctx.progress(45 + 45 * reader.done)


def write_row_groups(writer: parquet.ParquetWriter, blocks: Iterator[pa.RecordBatch]) -> None:
    """Write the blocks in groups of about ``ROW_GROUP_BYTES``: large ones are read quickly."""
    gathered: list[pa.RecordBatch] = []
    for block in blocks:
        gathered.append(block)
        if sum(part.nbytes for part in gathered) >= ROW_GROUP_BYTES:
            writer.write_table(pa.Table.from_batches(gathered))
            gathered.clear()
    if gathered:
        writer.write_table(pa.Table.from_batches(gathered))
