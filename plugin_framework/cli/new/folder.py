"""Puts a project's files where they belong: all of them, or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def wrong_folder(folder: Path) -> str:
    """Why no project can be made there; nothing where it can."""
    base = _nearest(folder)
    if not base.is_dir():
        return f"{base} is no folder"
    try:
        full = base == folder and {one.name for one in folder.iterdir()} - {".git"}
    except OSError as error:
        return f"{folder} cannot be read ({error.strerror})"
    return f"{folder} is not empty" if full else ""


def put(folder: Path, files: Iterable[tuple[Path, str]]) -> None:
    """Write the files beside where they belong, and move them there at the end.

    Raises:
        OSError: they cannot be written.
    """
    base = _nearest(folder)
    with tempfile.TemporaryDirectory(prefix=".datahub-new-", dir=base) as scratch:
        for path, text in files:
            file = scratch / folder.relative_to(base) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        for part in list(Path(scratch).iterdir()):
            part.rename(base / part.name)


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above that is there."""
    return next(one for one in (folder, *folder.parents) if os.path.lexists(one))
