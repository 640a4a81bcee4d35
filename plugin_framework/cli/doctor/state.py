"""The state folder and the journal in it. Nothing there is changed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.finding import Check, Told
from plugin_framework.engines.local import JOURNAL
from plugin_framework.errors import Code, JournalError
from plugin_framework.journal.records import Record
from plugin_framework.journal.view import View

MEBIBYTE = 1024 * 1024
LOW_SPACE = 1024 * MEBIBYTE
"""Bytes: with less left, a large input or output may not fit."""
NO_SPACE = 64 * MEBIBYTE
"""Bytes: with less left, not even the journal is sure to fit."""
FEW_FILES = 1000

_LONGEST_PATH = 504
"""Bytes of a path that SQLite opens: 512, and it puts -journal or -wal behind."""

_FILE = "a file"
_PROBE = 64 * 1024
_OTHERS = 0o077
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"})
_VARIABLE = "DATAHUB_STATE_DIR"
_UNUSABLE = Code.JOURNAL_UNUSABLE
_ELSEWHERE = f"set {_VARIABLE} to another folder"


def folder(case: Case) -> Iterator[Told]:
    """Whether it can be written, and by whom it can be read."""
    path = case.settings.state_dir
    there = _nearest(path)
    missing = "" if there == path else " (it will be made)"
    try:
        _see_that_it_is_short(path, there)
        if missing:
            _see_that_it_can_be_made(path, there)
        else:
            with tempfile.TemporaryFile(dir=path) as probe:
                probe.write(bytes(_PROBE))
                probe.flush()
                os.fsync(probe.fileno())
    except OSError as error:
        said = f"{path} cannot be written ({error.strerror})"
        yield "fail", said, _remedy_of(error), _UNUSABLE
        return
    yield "ok", f"{path} can be written{missing}"
    if not missing and path.stat().st_mode & _OTHERS:
        mode = path.stat().st_mode & 0o777
        yield (
            "warn",
            f"{path} is open to other users of this machine (mode {mode:03o})",
            f"chmod 700 {path}",
        )
    if (kind := _file_system(there)) in _NETWORK:
        yield (
            "warn",
            f"{path} is on a network file system ({kind})",
            f"{_ELSEWHERE} on a local disk",
        )


def _see_that_it_is_short(path: Path, there: Path) -> None:
    longest_name = os.pathconf(there, "PC_NAME_MAX")
    if any(len(os.fsencode(part)) > longest_name for part in path.parts):
        raise OSError(errno.ENAMETOOLONG, f"a name in it is over {longest_name} bytes")
    if len(os.fsencode(path / JOURNAL)) > _LONGEST_PATH:
        longest = _LONGEST_PATH - len(JOURNAL) - 1
        raise OSError(errno.ENAMETOOLONG, f"it is over {longest} bytes, too long for SQLite")


def _see_that_it_can_be_made(path: Path, there: Path) -> None:
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{there} is in the way, and is a file")
    for one in (path, *path.parents):
        if one.is_symlink() and not one.exists():
            raise FileExistsError(errno.EEXIST, f"{one} is a symbolic link to nothing")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"{there} is not writable")


def _remedy_of(error: OSError) -> str:
    if error.errno == errno.ENAMETOOLONG:
        return f"set {_VARIABLE} to a shorter path"
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return _ELSEWHERE
    return f"make it writable for user {os.geteuid()}, free some disk, or {_ELSEWHERE}"


def _nearest(path: Path) -> Path:
    """The folder itself, or the nearest above it that there is."""
    return next(one for one in (path, *path.parents) if os.access(one, os.F_OK))


def _file_system(path: Path) -> str:
    """The kind of file system that a folder is on; nothing where that is not known."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = ("", "")
    for line in lines.splitlines():
        before, _, after = line.partition(" - ")
        mounted = before.split(" ")[4]
        # The last that is mounted over a place is the one that is seen.
        if path.is_relative_to(mounted) and len(mounted) >= len(found[0]):
            found = (mounted, after.split(" ")[0])
    return found[1]


def disk(case: Case) -> Iterator[Told]:
    """How much room is left."""
    there = _nearest(case.settings.state_dir)
    try:
        free, facts = shutil.disk_usage(there).free, os.statvfs(there)
    except OSError as error:
        yield "fail", f"{there} cannot be looked at ({error.strerror})", _ELSEWHERE, _UNUSABLE
        return
    said = f"{_size(free)} free for {case.settings.state_dir}"
    remedy = (
        f"free some disk (`datahub-plugin journal prune` removes what has ended), or {_ELSEWHERE}"
    )
    if free >= LOW_SPACE:
        yield "ok", said
    else:
        yield "fail" if free < NO_SPACE else "warn", said, remedy, Code.JOURNAL_FULL
    if facts.f_files and facts.f_favail < FEW_FILES:
        yield "warn", f"room for {facts.f_favail} more files only", remedy, Code.JOURNAL_FULL


def _size(count: int) -> str:
    return (
        f"{count / MEBIBYTE / 1024:.1f} GiB" if count >= LOW_SPACE else f"{count // MEBIBYTE} MiB"
    )


def journal(case: Case) -> Iterator[Told]:
    """Whether it can be read, and whether reports are left in it."""
    path = case.settings.state_dir / JOURNAL
    try:
        kind = _kind(path)
        if kind == _FILE:
            with closing(View(path)) as view:
                records = view.records.all()
    except OSError as error:
        long = error.errno == errno.ENAMETOOLONG
        remedy = _remedy_of(error) if long else "run as its owner"
        yield "fail", f"{path} cannot be looked at ({error.strerror})", remedy, _UNUSABLE
        return
    except JournalError as error:
        yield _unreadable(error)
        return
    if kind == _FILE:
        yield from _reports(records)
    elif kind is None:
        yield "ok", "there is none yet"
    else:
        yield "fail", f"{path} is {kind}", f"move it elsewhere, or {_ELSEWHERE}", _UNUSABLE


def _kind(path: Path) -> str | None:
    """What stands at the journal's path; nothing opens it, for that may block."""
    try:
        link = stat.S_ISLNK(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a symbolic link to nothing" if link else None
    if stat.S_ISDIR(mode):
        return "a folder"
    return _FILE if stat.S_ISREG(mode) else "no regular file"


def _unreadable(error: JournalError) -> Told:
    if " is damaged " in str(error):
        remedy = "keep a copy of the folder, and see the log of the next start"
        return "fail", str(error), remedy, error.code
    # Journals say themselves what to do about it.
    said, _, remedy = str(error).rpartition(": ")
    return "fail", said or remedy, remedy, error.code


def _reports(records: Sequence[Record]) -> Iterator[Told]:
    left = [one for one in records if one.state == "undelivered"]
    refused = sum(one.state == "refused" for one in records)
    if left:
        since = min(one.since or one.created for one in left)
        hours = max(time.time() - since, 0) / 3600
        yield (
            "warn",
            f"reports of {_subtasks(len(left))} are undelivered, the oldest for {hours:.1f} hours",
            "datahub-plugin journal deliver",
        )
    if refused:
        yield (
            "warn",
            f"Datahub has refused the reports of {_subtasks(refused)}",
            "datahub-plugin journal list shows them, and journal show ID says why",
        )
    if not left and not refused:
        yield "ok", f"{_subtasks(len(records))}, nothing undelivered"


def _subtasks(count: int) -> str:
    return f"{count} subtask{'' if count == 1 else 's'}"


CHECKS = (
    Check("state", folder, stuck=_UNUSABLE),
    Check("disk", disk, stuck=_UNUSABLE),
    Check("journal", journal, stuck=_UNUSABLE),
)
