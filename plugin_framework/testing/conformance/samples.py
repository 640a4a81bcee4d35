"""Inputs to try a plugin on: the author's, or some of our own; and larger ones made of them."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from pathlib import Path

from plugin_framework.errors import ConfigurationError
from plugin_framework.lifecycle.folders import safe_file_name

MiB = 1024 * 1024

SIZES = (16 * MiB, 64 * MiB)
"""Bytes of the inputs by which memory is judged; the larger one is also the huge input."""

Grow = Callable[[Path, int, Path], Path | None]
"""Makes an input of about so many bytes out of a sample, in a folder; None if it cannot."""

RAN = "ran-by-a-shell"
"""The file that is there when a shell has understood a name as a command."""

_HEAD = 64 * 1024
_BLOCK = 1 * MiB
_TEXT = "".join(f"line {number}: the quick brown fox jumps over it\n" for number in range(1, 501))
_CSV = "id,name,value,day\n" + "".join(
    f"{number},name {number % 7},{number / 4},2024-01-{number % 28 + 1:02}\n"
    for number in range(1, 501)
)
_OWN = {
    "sample.csv": _CSV.encode(),
    "sample.txt": _TEXT.encode(),
    "sample.bin": bytes(range(256)) * 64,
}
_TABLES = {".csv", ".tsv"}
# What these hold has a beginning and an end, and two of them are not one.
_WHOLE = {".json", ".xml", ".html", ".htm", ".svg", ".yaml", ".yml", ".toml", ".eml", ".ipynb"}


def prepare(samples: Sequence[Path | str | bytes], folder: Path) -> list[Path]:
    """The author's samples as files; bytes are written to ``folder``.

    Raises:
        ConfigurationError: one cannot be read.
    """
    return [_as_file(sample, number, folder) for number, sample in enumerate(samples, 1)]


def own_samples(folder: Path) -> list[Path]:
    """A table, a text and some bytes."""
    return [_written(folder / name, content) for name, content in _OWN.items()]


def empty_like(sample: Path, folder: Path) -> Path:
    """A file of no bytes, of the same kind by its name."""
    return _written(folder / f"empty{sample.suffix}", b"")


def grown(sample: Path, size: int, folder: Path) -> Path | None:
    """The sample's lines again and again, up to ``size`` bytes; None if it is not text of lines."""
    head = sample.read_bytes()
    if not _is_lines(sample, head[:_HEAD]):
        return None
    first, _, rest = head.partition(b"\n")
    header, body = (first + b"\n", rest) if _is_table(sample, first, rest) else (b"", head)
    if not body.strip():
        return None
    body = body if body.endswith(b"\n") else body + b"\n"
    block = body * max(_BLOCK // len(body), 1)
    path = folder / f"grown-{size}{sample.suffix}"
    with path.open("wb") as file:
        file.write(header)
        while file.tell() < size:
            file.write(block)
    return path


def _as_file(sample: Path | str | bytes, number: int, folder: Path) -> Path:
    if isinstance(sample, bytes):
        return _written(folder / f"sample-{number}{_suffix(sample)}", sample)
    path = Path(sample)
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigurationError(
            f"the sample {path} cannot be read ({error.strerror}): expected a readable file"
        ) from None
    return path.absolute()


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _suffix(content: bytes) -> str:
    if not _is_text(content[:_HEAD]):
        return ".bin"
    first, _, rest = content.partition(b"\n")
    return ".csv" if _has_columns(first, rest, b",") else ".txt"


def _is_lines(sample: Path, head: bytes) -> bool:
    if sample.suffix.lower() in _WHOLE or not head or not _is_text(head):
        return False
    begins = head.lstrip()[:1]
    return sample.suffix.lower() in {".jsonl", ".ndjson"} or begins not in {b"{", b"[", b"<"}


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # whose end may be half a character
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def _is_table(sample: Path, first: bytes, rest: bytes) -> bool:
    if sample.suffix.lower() in _TABLES:
        return True
    return any(_has_columns(first, rest, sign) for sign in (b",", b";", b"\t"))


def _has_columns(first: bytes, rest: bytes, sign: bytes) -> bool:
    second = rest.partition(b"\n")[0]
    return 0 < first.count(sign) == second.count(sign)


def hostile_names(suffix: str) -> list[str]:
    """Names that a file may well have: no part of them may be understood as anything else."""
    suffix = safe_file_name(suffix, "")
    return [
        f'it\'s "quoted" & $(touch {RAN}); `touch {RAN}` #{suffix}',
        f"../../up/and\\away\n{{braces}} %s %(name)s \u202eevil \U0001f4a5 ünïcode{suffix}",
        f"-rf --help {'long' * 100}{suffix}",
    ]
