"""Runs the checks: side by side where they do not need each other, and each bounded in time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from plugin_framework.cli.doctor import (
    cluster,
    datahub,
    machine,
    plugins,
    state,
    storage,
    variables,
)
from plugin_framework.cli.doctor.case import Case
from plugin_framework.cli.doctor.finding import Check, Finding
from plugin_framework.errors import Code

_Result = TypeVar("_Result")
_REPORT = "report it to the framework's maintainers"


def findings(case: Case) -> Iterator[Finding]:
    """What all checks say, in the order of a plugin's start."""
    groups = [
        variables.CHECKS,
        datahub.CHECKS,
        *[(check,) for check in storage.checks(case.settings)],
        *[(check,) for check in (*state.CHECKS, *machine.CHECKS, *plugins.CHECKS)],
        cluster.checks(case.settings),
    ]
    under_way = [_begin(partial(examine, case, group)) for group in groups]
    for one in under_way:
        yield from one.result()


def examine(case: Case, group: Sequence[Check]) -> list[Finding]:
    """One after the other, each for as long as what it needs is well."""
    found: list[Finding] = []
    failed: dict[str, str] = {}
    for check in group:
        cause = next((failed[name] for name in check.needs if name in failed), None)
        if cause is not None:
            failed[check.name] = cause
            found.append(Finding(check.name, "skip", f"not looked at, because of {cause}"))
            continue
        said = _bounded(check, case)
        if any(one.level == "fail" for one in said):
            failed[check.name] = check.name
        found += said
    return found


def _bounded(check: Check, case: Case) -> list[Finding]:
    """What it says, and why that is not all, where it is not."""
    said: list[Finding] = []
    try:
        _begin(lambda: said.extend(check.findings(case))).result(check.seconds)
    except TimeoutError:
        late = f"no end to it within {check.seconds:g} s"
        remedy = "see what it waits for: a name server, a disk?"
        return [*said, Finding(check.name, "fail", late, remedy, check.stuck)]
    except Exception as error:  # noqa: BLE001 - one check that fails must not hide the others
        fault = f"it cannot be looked at ({type(error).__name__}: {error})"
        return [*said, Finding(check.name, "fail", fault, _REPORT, Code.UNEXPECTED)]
    return said


def _begin(call: Callable[[], _Result]) -> Future[_Result]:
    """Call it in a thread that nobody waits for at exit: a look-up of a name may hang for long."""
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
