"""Whether the built wheel works on each version of Python that it is for.

``python -m release.pythons WHEEL [VERSION...]`` installs it in a virtual environment of each, with
what ``constraints/`` pins, and runs ``release/smoke/`` there. Without versions it takes those
whose interpreter is on this machine, and says which are not; one that is asked for must be there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from release.pins import EXTRAS, RUNTIME

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
SMOKE = Path(__file__).with_name("smoke")
PYTEST = ("-q", "-W", "error", "-p", "no:cacheprovider")
FAILED, UNKNOWN = 1, 2


def interpreter(version: str) -> Path | None:
    """The program of a version: on the path, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
    named = shutil.which(f"python{version}")
    candidates = [Path(named), *found] if named else found
    return next((path for path in candidates if _is(path, version)), None)


def _is(path: Path, version: str) -> bool:
    """Whether it runs, which a stand-in for a version that is not there does not."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    asked = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
    return asked.stdout.strip() == version


def works(python: Path, wheel: Path) -> bool:
    """Whether the wheel can be installed there, and does what ``smoke/`` tries."""
    with tempfile.TemporaryDirectory() as folder:
        programs = Path(folder) / "environment/bin"
        pip: list[str | Path] = [
            programs / "python",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--quiet",
        ]
        install: list[str | Path] = [*pip, "install", "--no-compile"]
        pinned: list[str | Path] = [*install, "--require-hashes", "--only-binary", ":all:", "-r"]
        command: list[str | Path] = [
            programs / "python",
            "-W",
            "error",
            programs / "datahub-plugin",
        ]
        shutil.copytree(SMOKE, Path(folder) / "smoke", ignore=shutil.ignore_patterns("__pycache__"))
        # As every user has it, then with all extras.
        steps: list[list[str | Path]] = [
            [python, "-m", "venv", "environment"],
            [*pinned, RUNTIME],
            [*install, "--no-deps", wheel],
            [*pip, "check"],
            [*command, "--help"],
            [*command, "list"],
            [
                *command,
                "run",
                "smoke.plugins:Words",
                "--local",
                "smoke/plugins.py",
                "--out",
                "outputs",
            ],
            [*pinned, EXTRAS],
            [programs / "python", "-m", "pytest", *PYTEST, "smoke"],
        ]
        return all(_succeeds(step, folder) for step in steps)


def _succeeds(step: list[str | Path], folder: str) -> bool:
    clean = {"PYTHONNOUSERSITE": "1", "PYTHONPATH": folder, "DATAHUB_STATE_DIR": folder}
    ended = subprocess.run(
        step, check=False, cwd=folder, env=os.environ | clean, capture_output=True, text=True
    )
    if ended.returncode:
        print(*step, f"ended with {ended.returncode}:", ended.stdout, ended.stderr)
    return ended.returncode == 0


def main(wheel: str, *asked: str) -> int:
    """Try each version; 1 if one fails or, asked for, is not there; 2 for an unknown one."""
    if unknown := set(asked) - set(VERSIONS):
        print("no such version:", *sorted(unknown), file=sys.stderr)
        return UNKNOWN
    with ThreadPoolExecutor(max_workers=2) as pool:
        trials = pool.map(partial(_try, wheel=Path(wheel).resolve()), asked or VERSIONS)
        results = list(trials)
    tried = [result for result in results if result is not None]
    missing_counts = bool(asked) and None in results
    return 0 if tried and all(tried) and not missing_counts else FAILED


def _try(version: str, *, wheel: Path) -> bool | None:
    python = interpreter(version)
    if python is None:
        print(f"Python {version}: NOT TRIED, there is no interpreter on this machine", flush=True)
        return None
    passed = works(python, wheel)
    print(f"Python {version}: {'works' if passed else 'FAILS'}, tried with {python}", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
