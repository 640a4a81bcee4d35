"""What a download has so far: after a crash or a stop, the next one fetches the rest."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from plugin_framework.transfer.storage_object import Facts

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_DIGITS = 20


class Partial:
    """The file that an object is fetched into, beside ``target``, and a log of its whole ranges.

    Raises OSError from all it does; BlockingIOError where another download has it in use.
    """

    def __init__(self, target: Path, chunk: int) -> None:
        # A digest, since the name may be as long as names can be.
        name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
        self.path: Path = target.with_name(f".download-{name}.part")
        self._log = target.with_name(f".download-{name}.log")
        self._done = target.with_name(f".download-{name}.done")
        self._target = target
        self._chunk = chunk
        self._held = self.path.open("ab")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._held.close()
            raise
        except OSError:  # a file system without locks
            pass

    def whole(self) -> Facts | None:
        """The object that is in the target already, if it is untouched since it was put there."""
        try:
            known: dict[str, Any] = json.loads(self._done.read_text())
            there = self._target.stat()
            fits = (there.st_size, there.st_mtime_ns) == (known["size"], known["mtime_ns"])
            return Facts(int(known["size"]), str(known["etag"])) if fits else None
        except (OSError, ValueError, OverflowError, KeyError, TypeError):
            return None

    def resume(self) -> tuple[Facts, AbstractSet[int]] | None:
        """The object that was begun, and the offsets of the ranges that are here already.

        None: there is nothing to go by, and the file is empty.
        """
        try:
            header, *lines = self._log.read_text().splitlines()
            known: dict[str, Any] = json.loads(header)
            facts = Facts(int(known.pop("size")), str(known.pop("etag")))
            offsets = frozenset(int(line) for line in lines if len(line) == _DIGITS)
            fits = known == self._same_again() and self.path.stat().st_size == facts.size
        except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError):
            fits = False
        if fits:
            return facts, offsets
        self.forget()
        return None

    def begin(self, facts: Facts) -> None:
        """Log from now on; not for an object that a later answer could not be told from."""
        self._log.unlink(missing_ok=True)
        if _tells_objects_apart(facts):
            header = {"size": facts.size, "etag": facts.etag, **self._same_again()}
            self._log.write_text(f"{json.dumps(header)}\n")

    def finished(self, offset: int) -> None:
        """Note that the range from ``offset`` is whole."""
        if self._log.exists():
            with self._log.open("a") as log:
                log.write(f"{offset:0{_DIGITS}d}\n")

    def settle(self, facts: Facts) -> None:
        """Put the file in its place, and see that it and its name are on disk."""
        self._done.unlink(missing_ok=True)
        os.fsync(self._held.fileno())
        self._log.unlink(missing_ok=True)
        self.path.replace(self._target)
        folder = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        if _tells_objects_apart(facts):
            mtime_ns = self._target.stat().st_mtime_ns
            known = {"size": facts.size, "etag": facts.etag, "mtime_ns": mtime_ns}
            self._done.write_text(json.dumps(known))
        self._held.close()

    def forget(self) -> None:
        """Begin anew."""
        self._log.unlink(missing_ok=True)
        os.truncate(self.path, 0)

    def leave(self) -> None:
        """Let go of it; what is here stays for the next download."""
        self._held.close()

    def discard(self) -> None:
        """Remove what is left."""
        self._log.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        self._held.close()

    def _same_again(self) -> dict[str, Any]:
        # Nothing is synced before the end, so a log from before a reboot proves nothing.
        return {"chunk": self._chunk, "boot": _BOOT_ID.read_text().strip()}


def _tells_objects_apart(facts: Facts) -> bool:
    return facts.etag is not None and not facts.etag.startswith("W/")
