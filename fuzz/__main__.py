"""Fuzz one target: ``python -m fuzz TARGET``, with libFuzzer's options and inputs if need be.

Without inputs it starts from the kept corpus. What it finds goes to ``build/fuzz``.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import atheris

from fuzz.json_bodies import mutate

HERE = Path(__file__).parent
FOUND = Path("build/fuzz")
TARGETS = ("signing", "answers", "ranges", "config_values")
JSON_BODIES = {"answers", "config_values"}
SECONDS_PER_INPUT = 10
HELP = "import atheris; atheris.Setup(['fuzz', '-help=1'], print); atheris.Fuzz()"
INTERNAL = {"merge_inner", "minimize_crash_internal_step"}
"""Options that the help leaves out: those of processes that libFuzzer starts."""


def main() -> None:
    """Read the command line, and hand over to libFuzzer."""
    name, *given = sys.argv[1:] or [""]
    if name not in TARGETS:
        sys.exit(f"usage: python -m fuzz {{{','.join(TARGETS)}}} [libFuzzer's options and inputs]")
    _refuse_unknown(given)
    with atheris.instrument_imports(include=["plugin_framework", "fuzz"]):
        target = importlib.import_module(f"fuzz.{name}")
    for owner, attribute, value in getattr(target, "SETTING", ()):
        setattr(owner, attribute, value)
    itself = f"{sys.executable} -m fuzz {name}"  # what libFuzzer starts where it needs a process
    arguments = [itself, *_options(name), *given, *_corpora(name, given)]
    if name in JSON_BODIES:
        atheris.Setup(arguments, target.fuzz, custom_mutator=mutate)
    else:
        atheris.Setup(arguments, target.fuzz)
    atheris.Fuzz()


def _refuse_unknown(given: list[str]) -> None:
    """Refuse options that libFuzzer passes over with a warning: a limit misspelt is none."""
    asked = {one: one[1:].partition("=")[0] for one in given if re.match(r"-[^-]", one)}
    if not asked:
        return
    told = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    known = {*re.findall(r"^ (\w+)\s", told.stdout + told.stderr, re.MULTILINE), *INTERNAL}
    if unknown := [one for one, option in asked.items() if option not in known]:
        sys.exit(f"{', '.join(unknown)}: libFuzzer has no such option; -help=1 lists them")


def _options(name: str) -> list[str]:
    FOUND.mkdir(parents=True, exist_ok=True)
    options = [f"-timeout={SECONDS_PER_INPUT}", f"-artifact_prefix={FOUND}/{name}-"]
    words = HERE / f"{name}.dict"
    return [*options, f"-dict={words}"] if words.exists() else options


def _corpora(name: str, given: list[str]) -> list[str]:
    if not all(one.startswith("-") for one in given):
        return []
    found = FOUND / name
    found.mkdir(exist_ok=True)
    return [str(found), str(HERE / "corpus" / name)]


main()
