"""Where a subtask's files are, and the lock that makes it run once per machine.

Ids and file names come from outside and are never used as paths as they stand.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from plugin_framework.errors import JournalError, TaskLockedError

NAME_LIMIT = 200
"""Bytes of a file name; file systems take 255, and temporary files add to it."""

_PERCENT, _ID = ".percent", ".id"
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")


def folder_name(subtask_id: str) -> str:
    """A folder name for a subtask: readable, and unique by a hash of the whole id."""
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", subtask_id)[:60]
    digest = hashlib.sha256(subtask_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{readable}-{digest}"


def safe_file_name(name: str | None, fallback: str = "input") -> str:
    """A name that came from outside, as the last part of a path: no separators, not too long."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    clean = _UNSAFE.sub("_", last).encode("utf-8", "replace")
    # The end is kept: it says what kind of file it is.
    kept = clean[-NAME_LIMIT:].decode(errors="ignore").strip()
    return fallback if kept in ("", ".", "..") else kept


def work_dir_of(state_dir: Path, subtask_id: str) -> Path:
    """The subtask's private folder."""
    return state_dir / "work" / folder_name(subtask_id)


def percent_file_of(state_dir: Path, subtask_id: str) -> Path:
    """Where the progress that was reported is kept."""
    return work_dir_of(state_dir, subtask_id).with_suffix(_PERCENT)


def make_work_dir(state_dir: Path, subtask_id: str) -> bool:
    """Make the subtask's private folder; False if it was there.

    Raises:
        JournalError: the state folder cannot be written.
    """
    path = work_dir_of(state_dir, subtask_id)
    try:
        if path.is_dir():
            return False
        _make_private(path.parent)
        path.mkdir(mode=0o700)
    except OSError as error:
        raise JournalError(_advice(state_dir, error)) from None
    return True


@dataclass(frozen=True, slots=True)
class Mark:
    """What is beside a folder that has an ``id`` of its own: after what it is named, and whose."""

    id: str
    place: str
    subtask_id: str


def make_same_work_dir(
    state_dir: Path, subtask_id: str, known: str | None, *, place: str
) -> tuple[str, bool]:
    """Make the subtask's private folder, which has an id of its own; the id, and whether it is new.

    It is named after the ``place``. Only the one whose id is ``known`` is kept, or any where none
    is: another is from before an attempt on another machine, and fits what that one has left no
    more.

    Raises:
        JournalError: the state folder cannot be written.
    """
    path = work_dir_of(state_dir, place).with_suffix(_ID)
    try:
        found = _mark(path)
        if found is not None and path.with_suffix("").is_dir() and known in (None, found.id):
            return found.id, False
        remove_work_dir(state_dir, place)
        made = Mark(uuid.uuid4().hex, place, subtask_id)
        _make_private(path.parent)
        path.touch(0o600)
        path.write_text(json.dumps(asdict(made)), encoding="ascii")
        make_work_dir(state_dir, place)
    except OSError as error:
        raise JournalError(_advice(state_dir, error)) from None
    return made.id, True


def marks(state_dir: Path) -> list[Mark]:
    """Of all folders that have an id of their own, and of those that had until they were removed.

    Raises:
        JournalError: the state folder cannot be read.
    """
    try:
        found = [_mark(path) for path in (state_dir / "work").glob(f"*{_ID}")]
    except OSError as error:
        raise JournalError(_advice(state_dir, error)) from None
    return [mark for mark in found if mark is not None]


def _make_private(folder: Path) -> None:
    """Make a folder of the state folder, and that one: ``parents`` would be for all to read."""
    for each in (folder.parent, folder):
        each.mkdir(parents=True, exist_ok=True, mode=0o700)


def _mark(path: Path) -> Mark | None:
    try:
        return Mark(**json.loads(path.read_text(encoding="ascii")))
    except (FileNotFoundError, TypeError, ValueError):  # or its writer was killed
        return None


@contextmanager
def subtask_lock(state_dir: Path, subtask_id: str, *, to_run: bool = True) -> Iterator[bool]:
    """Hold the subtask on this machine; yield whether its last holder was killed.

    The kernel frees the lock however the holder ends. The holder's name stays in the file until
    it lets go in good order. That a holder was killed is still known to the next one where this
    one holds it not ``to_run``, or fails.

    Raises:
        TaskLockedError: someone else holds it; the message says who.
        JournalError: the state folder cannot be written.
    """
    path = lock_file_of(state_dir, subtask_id)
    try:
        _make_private(path.parent)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(_advice(state_dir, error)) from None
    try:
        was_killed = _lock(fd, state_dir, subtask_id)
        if os.fstat(fd).st_nlink == 0:
            raise TaskLockedError(f"subtask {subtask_id} was just pruned here: run it again")
        in_order = False
        try:
            yield was_killed
            in_order = to_run
        finally:
            if in_order or not was_killed:
                os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def lock_file_of(state_dir: Path, subtask_id: str) -> Path:
    """The file that ``subtask_lock`` locks."""
    return state_dir / "locks" / f"{folder_name(subtask_id)}.lock"


def forget_subtask(state_dir: Path, subtask_id: str) -> None:
    """Remove a subtask's folder and what is beside it, the lock included, while it is held."""
    remove_work_dir(state_dir, subtask_id)
    lock_file_of(state_dir, subtask_id).unlink(missing_ok=True)
    # Last: by it what is left of the others is found.
    work_dir_of(state_dir, subtask_id).with_suffix(_ID).unlink(missing_ok=True)


def remove_work_dir(state_dir: Path, subtask_id: str) -> None:
    """Remove a subtask's folder, and the progress that is kept beside it."""
    shutil.rmtree(work_dir_of(state_dir, subtask_id), ignore_errors=True)
    percent_file_of(state_dir, subtask_id).unlink(missing_ok=True)


def _lock(fd: int, state_dir: Path, subtask_id: str) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        was_killed = os.fstat(fd).st_size > 0
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()} since {datetime.now(UTC):%F %T} UTC".encode(), 0)
    except BlockingIOError:
        holder = os.pread(fd, 200, 0).decode(errors="replace") or "another process"
        raise TaskLockedError(f"subtask {subtask_id} is already running here: {holder}") from None
    except OSError as error:
        raise JournalError(_advice(state_dir, error)) from None
    return was_killed


def _advice(state_dir: Path, error: OSError) -> str:
    return (
        f"the state folder {state_dir} cannot be used ({error.strerror}): make it writable, or set"
        " DATAHUB_STATE_DIR to another folder"
    )
