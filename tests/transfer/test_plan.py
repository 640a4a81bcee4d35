from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_framework.errors import TransferError
from plugin_framework.transfer.plan import (
    CHUNK,
    MIB,
    PART_LIMIT,
    PART_MINIMUM,
    Part,
    chunk_size_for,
    parts,
    parts_for,
    ranges,
)

SIZES = st.integers(0, 5 * 1024 * 1024 * MIB)
CHUNKS = st.none() | st.integers(1, 1024 * MIB)


def covers_once(pieces: list[Part], start: int, end: int) -> bool:
    edges = [start, *(piece.end for piece in pieces)]
    return edges[-1] == end and all(
        piece.offset == edge for piece, edge in zip(pieces, edges, strict=False)
    )


@given(SIZES, CHUNKS)
def test_parts_cover_the_file_once_and_are_what_stores_take(size: int, asked: int | None) -> None:
    chunk = chunk_size_for(size, asked)
    pieces = parts(size, chunk)
    assert covers_once(pieces, 0, size)
    assert [piece.index for piece in pieces] == list(range(1, len(pieces) + 1))
    assert 1 <= len(pieces) <= PART_LIMIT
    assert all(piece.size == chunk for piece in pieces[:-1])
    assert chunk is None or chunk >= PART_MINIMUM
    assert (chunk is None) == (len(pieces) == 1)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6))
def test_ranges_cover_the_rest_once(start: int, size: int, chunk: int) -> None:
    chunk = max(chunk, size // 1000, 1)
    pieces = ranges(start, size, chunk)
    assert covers_once(pieces, start, max(size, start))
    assert all(0 < piece.size <= chunk for piece in pieces)


@pytest.mark.parametrize(
    ("size", "asked", "count", "chunk"),
    [
        (0, None, 1, None),
        (CHUNK, None, 1, None),
        (CHUNK + 1, None, 2, CHUNK),
        (5 * MIB, 1, 1, None),
        (5 * MIB + 1, 1, 2, 5 * MIB),
        (10_000 * CHUNK, None, 10_000, CHUNK),
        (10_000 * CHUNK + 1, None, 9_412, 17 * MIB),
    ],
)
def test_edges(size: int, asked: int | None, count: int, chunk: int | None) -> None:
    assert chunk_size_for(size, asked) == chunk
    assert len(parts(size, chunk)) == count


@given(SIZES, st.none() | st.integers(MIB, 1024 * MIB), st.integers(-2, 2))
def test_the_urls_that_datahub_gives_are_obeyed_or_refused(
    size: int, chunk: int | None, off: int
) -> None:
    count = max(1, -(-size // chunk)) if chunk else 1
    if off == 0 and count <= PART_LIMIT:
        pieces = parts_for(size, chunk, count)
        assert len(pieces) == count
        assert covers_once(pieces, 0, size)
        assert all(piece.size == chunk for piece in pieces[:-1])
    else:
        with pytest.raises(TransferError, match=f"{count} part"):
            parts_for(size, chunk, count + off)
