"""Whether the settings are right."""

from __future__ import annotations

import os
from collections.abc import Iterator

from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.finding import Check, Told
from plugin_framework.cli.doctor.reading import DOTENV, Reading
from plugin_framework.errors import Problem
from plugin_framework.settings import secret_variables, unknown_variables

_OTHERS = 0o077
_SET = "set it: in the environment, in .env, or a secret in a file of its name"


def settings(case: Case) -> Iterator[Told]:
    """What is wrong or doubtful with the settings."""
    reading = case.reading
    for problem in reading.problems:
        yield "fail", problem, _remedy(reading, problem), problem.code
    for line in unknown_variables(reading.environ):
        yield "warn", line, "correct the name, or remove the variable"
    secrets = secret_variables()
    for variable in sorted(secrets & reading.given.keys()):
        text = reading.given[variable][0].text
        if text != text.strip().strip("\"'"):
            yield (
                "warn",
                f"{variable} begins or ends with white space or a quote",
                "remove it, unless the secret really has it",
            )
    yield from _open_to_others(case)
    if not reading.problems:
        known = sum(row.source != "default" for row in reading.rows)
        yield "ok", f"{known} of {len(reading.rows)} are given, and none is wrong"


def _remedy(reading: Reading, problem: Problem) -> str:
    if problem.startswith(f"{DOTENV}:"):
        user = os.geteuid()
        return f"make {DOTENV} a file of UTF-8 text that user {user} may read, or move it elsewhere"
    place = reading.place_of(problem)
    return f"correct it in {place}" if place else _SET


def _open_to_others(case: Case) -> Iterator[Told]:
    in_dotenv = [
        variable
        for variable in secret_variables() & case.reading.given.keys()
        if any(one.place.startswith(".env") for one in case.reading.given[variable])
    ]
    if in_dotenv and DOTENV.stat().st_mode & _OTHERS:
        mode = DOTENV.stat().st_mode & 0o777
        yield (
            "warn",
            f".env has secrets, and is open to other users of this machine (mode {mode:03o})",
            "chmod 600 .env",
        )


CHECKS = (Check("settings", settings),)
