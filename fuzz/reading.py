"""How targets read their inputs."""

from __future__ import annotations


def lines(data: bytes, count: int) -> tuple[list[bytes], bytes]:
    """The first ``count`` lines, empty where there are fewer, and what is left."""
    *found, rest = [*data.split(b"\n", count), b""][: count + 1]
    found += [b""] * (count - len(found))
    return found, rest


def numbers(line: bytes, count: int) -> list[int]:
    """The first ``count`` integers of a line, 0 where there are fewer or one is none."""
    found = []
    for word in line.split()[:count]:
        digits = word.removeprefix(b"-")
        found.append(int(word) if digits.isdigit() and len(digits) <= 20 else 0)
    return found + [0] * (count - len(found))
