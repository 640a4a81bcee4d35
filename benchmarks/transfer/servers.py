"""The store and the delaying proxy, as processes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Tally:
    """What a store saw: CLOCK_MONOTONIC of the first connection in ns, bytes, requests."""

    first_ns: int
    bytes_in: int
    bytes_out: int
    requests: int
    failures: int


class _Server:
    """A program that says its port, and ends when its input does."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            [str(each) for each in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.port = int(self._line())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


class Store(_Server):
    """Takes what is sent, and gives ``size`` bytes: those of the file ``block``, over and over."""

    def __init__(
        self,
        folder: Path,
        *,
        block: Path,
        size: int,
        certificate: Path | None = None,
        md5: bool = False,
        fail: int = 0,
    ) -> None:
        options = [f"cert={certificate}"] if certificate else []
        options += ["md5=1"] if md5 else []
        options += [f"fail={fail}"] if fail else []
        super().__init__(folder / "store", block, str(size), *options)
        self.origin = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"

    def tally(self) -> Tally:
        """What it saw since the last call."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        return Tally(*map(int, self._line().split()))


class Delay(_Server):
    """Passes bytes on to a store, each later by half of ``milliseconds``, both ways."""

    def __init__(self, folder: Path, store: Store, milliseconds: int) -> None:
        super().__init__(folder / "delay", str(store.port), str(milliseconds))
        self.origin = store.origin.replace(str(store.port), str(self.port))
