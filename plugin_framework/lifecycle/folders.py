"""Where a subtask's files are, and the lock that makes it run once per machine.

Ids and file names come from outside and are never used as paths as they stand.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plugin_framework.errors import JournalError, TaskLockedError

NAME_LIMIT = 200
"""Bytes of a file name; file systems take 255, and temporary files add to it."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")


def folder_name(subtask_id: str) -> str:
    """A folder name for a subtask: readable, and unique by a hash of the whole id."""
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", subtask_id)[:60]
    digest = hashlib.sha256(subtask_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{readable}-{digest}"


def safe_file_name(name: str | None, fallback: str = "input") -> str:
    """A name that came from outside, as the last part of a path: no separators, not too long."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    clean = _UNSAFE.sub("_", last).strip()
    while len(clean.encode("utf-8", "replace")) > NAME_LIMIT:
        clean = clean[1:]
    clean = clean.encode("utf-8", "replace").decode()
    return fallback if clean in ("", ".", "..") else clean


def make_work_dir(state_dir: Path, subtask_id: str) -> Path:
    """The subtask's private folder, made if it is not there.

    Raises:
        JournalError: the state folder cannot be written.
    """
    folder = state_dir / "work" / folder_name(subtask_id)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise JournalError(_advice(state_dir, error)) from None
    return folder


@contextmanager
def subtask_lock(state_dir: Path, subtask_id: str) -> Iterator[None]:
    """Hold the subtask on this machine. The kernel frees the lock however the holder ends.

    Raises:
        TaskLockedError: someone else holds it; the message says who.
        JournalError: the state folder cannot be written.
    """
    path = state_dir / "locks" / f"{folder_name(subtask_id)}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(_advice(state_dir, error)) from None
    try:
        _lock(fd, subtask_id)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, subtask_id: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 200, 0).decode(errors="replace") or "another process"
        raise TaskLockedError(f"subtask {subtask_id} is already running here: {holder}") from None
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps({"pid": os.getpid(), "since": since}).encode(), 0)


def _advice(state_dir: Path, error: OSError) -> str:
    return (
        f"the state folder {state_dir} cannot be used ({error.strerror}): make it writable, or set"
        " DATAHUB_STATE_DIR to another folder"
    )
