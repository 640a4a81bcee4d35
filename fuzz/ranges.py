"""Whether files are cut so that each byte is sent and fetched once, whatever storage answers.

An input is: what to do, and sizes; what an earlier attempt left; and after an empty line storage's
answers, as ``fuzz.storage`` reads them:

    fetch 0 9

    106 4 ETag: "a"; Content-Range: bytes 0-3/9
    106 5 ETag: "a"; Content-Range: bytes 4-8/9
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import io
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import xxhash

from fuzz.reading import lines, numbers
from fuzz.storage import MOST, Storage, content
from plugin_framework.errors import DatahubError, TransferError
from plugin_framework.transfer import download, parallel, partial
from plugin_framework.transfer.download import download_file
from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.parallel import Width
from plugin_framework.transfer.partial import Partial
from plugin_framework.transfer.plan import (
    MIB,
    PART_LIMIT,
    PART_MINIMUM,
    Part,
    chunk_size_for,
    parts,
    parts_for,
    ranges,
)
from plugin_framework.transfer.storage_object import StorageObject
from plugin_framework.transfer.upload import StoredPart, UploadSlots, upload_file

ANSWERS = 20
URLS = 64
PIECES = 1000
OFFSET_DIGITS = 20
DISK = 8 * MOST
MEMORY = Path("/dev/shm")


def _folder() -> Path:
    """A folder of this process. libFuzzer gives no chance to remove it: the next process does."""
    within = MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())
    for old in within.glob("fuzz-*"):
        if not Path("/proc", old.name.removeprefix("fuzz-")).exists():
            shutil.rmtree(old, ignore_errors=True)
    folder = within / f"fuzz-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


FOLDER = _folder()
BOOT = FOLDER / "boot"
BOOT.write_text("boot")


def _check_room(path: Path, size: int) -> None:
    if size > DISK:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


# The same input means the same on every machine and after every start, and nothing is waited for.
SETTING = (
    (partial, "_BOOT_ID", BOOT),
    (download, "_check_room", _check_room),
    (parallel, "IDLE_SECONDS", 0.001),
    (parallel, "POLL_SECONDS", 0.001),
)


def fuzz(data: bytes) -> None:
    """Plan, fetch, download or upload, as the input says."""
    head, _, answers = data.partition(b"\n\n")
    (first,), left = lines(head, 1)
    kind, _, sizes = first.partition(b" ")
    said = [line for line in answers.split(b"\n") if line][:ANSWERS]
    if kind == b"fetch":
        fuzz_fetch(Storage(said), *numbers(sizes, 2))
    elif kind == b"whole":
        fuzz_whole(Storage(said))
    elif kind == b"download":
        fuzz_download(said, numbers(sizes, 2), left)
    elif kind == b"upload":
        fuzz_upload(said, numbers(sizes, 3), left)
    else:
        fuzz_plan(*numbers(sizes, 4))


def fuzz_plan(size: int, chunk: int, urls: int, start: int) -> None:
    """Parts and ranges follow one another from the first byte to the last."""
    size, start, urls = abs(size), abs(start), abs(urls)
    asked = abs(chunk) or None
    chosen = chunk_size_for(size, asked)
    if chosen is None:
        assert size <= max(asked or 0, 16 * MIB)
    else:
        assert max(PART_MINIMUM, asked or 0) <= chosen < size <= chosen * PART_LIMIT
        if size // chosen <= PIECES:
            check_cover(parts(size, chosen), 0, size, chosen)
    if start <= size and asked and (size - start) // asked <= PIECES:
        check_cover(ranges(start, size, asked) or [Part(1, start, 0)], start, size, asked)
    count = max(1, -(-size // chunk)) if chunk > 0 else 1
    try:
        cut = parts_for(size, chunk or None, urls)
    except TransferError:
        assert chunk < 0 or count != urls or count > PART_LIMIT
        return
    assert len(cut) == urls == count <= PART_LIMIT
    check_cover(cut, 0, size, chunk or max(size, 1))


def check_cover(cut: Sequence[Part], start: int, end: int, most: int) -> None:
    """They cover ``start`` to ``end``, none twice, each but the last of ``most`` bytes."""
    assert [part.index for part in cut] == list(range(1, len(cut) + 1))
    assert len(cut) == max(1, -(-(end - start) // most))
    for part in cut:
        assert (part.offset, part.size) == (start, min(most, end - start))
        start = part.end
    assert start == end


def fuzz_fetch(storage: Storage, start: int, size: int) -> None:
    """What is written is right, if only a beginning where the fetch fails."""
    start, size = abs(start) % MOST, abs(size) % MOST
    source = StorageObject(cast("Engine", storage), lambda: "http://s/o", width=Width(1))
    file = io.BytesIO()
    try:
        source.fetch(start, size, file.write, stop=threading.Event())
    except DatahubError:
        assert file.getvalue() == content(start, start + len(file.getvalue()))
        return
    assert len(set(storage.taken)) <= 1, storage.taken
    total = source.facts.size if source.facts else 0
    assert file.getvalue() == content(start, min(start + size, total))


def fuzz_whole(storage: Storage) -> None:
    """What is in the file is what the last answer brought, and no more."""
    source = StorageObject(cast("Engine", storage), lambda: "http://s/o", width=Width(1))
    file = io.BytesIO()
    try:
        facts = source.fetch_whole(file, stop=threading.Event())
    except DatahubError:
        return
    assert file.getvalue() == storage.sent == content(0, facts.size)


def fuzz_download(said: Sequence[bytes], sizes: Sequence[int], left: bytes) -> None:
    """What an earlier attempt left is not taken for more than it is, nor in the way.

    That is its log, true or damaged; the bytes of which it speaks are there.
    """
    size, chunk = abs(sizes[0]) % MOST, max(1, abs(sizes[1]) % MOST)
    storage, target = Storage(said, then=size), FOLDER / "target"
    begun = Partial(target, chunk)
    log = begun.path.with_suffix(".log")
    log.write_bytes(left)
    begun.path.write_bytes(_image(size, chunk, left))
    begun.leave()
    try:
        done = download_file(cast("Engine", storage), lambda: "http://s/o", target, chunk=chunk)
    except DatahubError:
        assert said, "storage works"
        assert not target.exists()
    else:
        assert target.read_bytes() == content(0, done.size)
    finally:
        for file in FOLDER.glob("*target*"):
            file.unlink()
        for file in FOLDER.glob(".download-*"):
            file.unlink()


def _image(size: int, chunk: int, left: bytes) -> bytes:
    image = bytearray(b"?" * size)
    lead = min(chunk, MIB)
    for line in left.splitlines()[1:]:
        offset = int(line) if len(line) == OFFSET_DIGITS and line.isdigit() else size
        end = min(size, offset + (chunk if offset else lead))
        image[offset:end] = content(offset, end)
    return bytes(image)


def fuzz_upload(said: Sequence[bytes], sizes: Sequence[int], left: bytes) -> None:
    """Each part is sent from its place, or was stored with the same bytes; and all are completed.

    What is left are lines of an index and what its bytes were: ``=`` for the file's own.
    """
    size, chunk, urls = (
        abs(number) % most for number, most in zip(sizes, (MOST, MOST, URLS), strict=True)
    )
    layout = parts(size, max(chunk, 1 + size // URLS) if chunk else None)
    chunk = layout[0].size if chunk else 0
    storage, path = Storage(said, then=size), FOLDER / "source"
    path.write_bytes(content(0, size))
    own = {part.index: content(part.offset, part.end) for part in layout}
    stored = dict(_stored(left, own))
    addresses = [f"http://s/{index}" for index in range(1, urls + 1)]
    api = Api(UploadSlots("u", addresses, stored, part_size=chunk or None))
    try:
        done = upload_file(cast("Engine", storage), path, name="n", api=api)
    except DatahubError:
        assert said or urls != len(layout), "storage works"
        assert api.completed is None
        return
    assert done.sha256 == hashlib.sha256(content(0, size)).hexdigest()
    assert api.completed is not None
    assert [index for index, _ in api.completed] == list(own) == list(range(1, urls + 1))
    for index, etag in api.completed:
        url = f"http://s/{index}"
        was_stored = url not in storage.puts
        assert etag == (f'"{index}"' if was_stored else storage.etags[url]) != ""
        sent = stored[index].digest if was_stored else _digest(storage.puts[url])
        assert sent == _digest(own[index])


def _stored(left: bytes, own: dict[int, bytes]) -> list[tuple[int, StoredPart]]:
    found = []
    for line in left.split(b"\n"):
        (index,), (_, _, was) = numbers(line, 1), line.partition(b" ")
        was = own.get(index, b"") if was == b"=" else was
        found.append((index, StoredPart(f'"{index}"', _digest(was))))
    return found


def _digest(data: bytes) -> str:
    return xxhash.xxh3_128(data).hexdigest()


class Api:
    """Datahub's part in an upload: the same URLs each time."""

    def __init__(self, slots: UploadSlots) -> None:
        self.completed: list[tuple[int, str]] | None = None
        self._slots = slots

    def init(self, _name: str, _size: int, _chunk: int | None, *, resume: bool) -> UploadSlots:
        """See ``UploadApi``."""
        slots = self._slots
        return slots if resume else UploadSlots("v", slots.urls, part_size=slots.part_size)

    def keep(self, upload_id: str, index: int, part: StoredPart) -> None:
        """See ``UploadApi``."""

    def complete(self, _upload_id: str, parts: Sequence[tuple[int, str]]) -> None:
        """See ``UploadApi``."""
        self.completed = list(parts)
