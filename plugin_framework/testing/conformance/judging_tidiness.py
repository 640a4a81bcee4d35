"""Rules about what a plugin tells, and what it leaves behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from plugin_framework.testing.conformance.config_fields import Planted, planted_in, secrets_of
from plugin_framework.testing.conformance.rule import Broken, NotApplicable
from plugin_framework.testing.conformance.samples import RAN, empty_like

if TYPE_CHECKING:
    from plugin_framework.testing.conformance.case import Case

SHORTEST_SECRET = 6
"""Characters: a shorter one would be found in any text."""


def stays_in_work_dir(case: Case) -> str:
    """Nothing is written outside the task's folders, and no temporary file is left."""
    _run_the_usual(case)
    for trial in case.made:
        wrote = [fact["path"] for fact in trial.facts if fact["fact"] == "wrote"]
        if wrote:
            raise Broken(f"it writes outside its work folder: {', '.join(wrote[:3])}")
        # By what is not Python, which tells of all that it writes.
        left = [name for name in trial.left if not name.startswith(RAN)]
        if left and not trial.broken_off:
            raise Broken(f"it leaves {', '.join(left[:3])}")
    return f"in {len(case.made)} runs, one of them cancelled"


def _run_the_usual(case: Case) -> None:
    """What other rules may have run before; the runs of those that were chosen count, too."""
    _ = case.plain, case.cancelled, case.empty


def no_secret_in_logs(case: Case) -> str:
    """No secret of the config, the environment or the framework is told."""
    _run_the_usual(case)
    config = case.plugin.Config.model_validate(case.config)
    fields = planted_in(config)
    ours = _run_with_ours(case, fields)
    known = [*secrets_of(config), *ours.items()]
    for name, secret in known:
        if len(secret) >= SHORTEST_SECRET:
            _check_untold(case, secret, f"the value of {name}")
    for secret in case.stage.secrets:
        _check_untold(case, secret, "the value of a variable of its environment")
    return _secrets_looked_for(fields, known)


def _run_with_ours(case: Case, fields: list[Planted]) -> dict[str, str]:
    """Run it with secrets of ours in the fields that take them; which they are."""
    taken = [one for one in fields if case.takes({**case.config, one.key: one.value})]
    config = {**case.config, **{one.key: one.value for one in taken}}
    ours = {name: secret for one in taken for name, secret in one.secrets.items()}
    if not ours or not case.takes(config):
        return {}
    case.stage.run(case.sample, config)
    case.stage.run(empty_like(case.sample, case.folder), config)
    return ours


def _secrets_looked_for(fields: list[Planted], known: list[tuple[str, str]]) -> str:
    names = list(dict.fromkeys(name for one in fields for name in one.fields))
    if not names:
        return "its config has no secret field; the secrets of its environment are not told"
    had = {name for name, secret in known if len(secret) >= SHORTEST_SECRET}
    untried = [name for name in names if name not in had]
    if len(untried) == len(names):
        raise NotApplicable(
            f"none of ours is valid in the secret fields ({', '.join(names)}): give them values"
        )
    told = f"secret fields: {', '.join(name for name in names if name in had)}"
    return f"{told}; without a value that is valid: {', '.join(untried)}" if untried else told


def _check_untold(case: Case, secret: str, what: str) -> None:
    for trial in case.made:
        for line in trial.lines:
            if secret in line.message:
                raise Broken(f"{what} is in the log, in a line of {line.logger}")
        if secret in (trial.outcome.error or ""):
            raise Broken(f"{what} is in the error that Datahub's users see")
        if secret in json.dumps(trial.outcome.result, ensure_ascii=False):
            raise Broken(f"{what} is in the result")


def no_orphan(case: Case) -> str:
    """Every process that was started has ended when the task has."""
    for trial, when in ((case.plain, "completed"), (case.cancelled, "was cancelled")):
        finished = trial.fact("finished")
        left = finished["left"] if finished else []
        if left:
            raise Broken(f"when the task {when}, this process of it still ran: {left[0]}")
        if trial.strays:
            raise Broken(f"after the task {when}, a process of it goes on: {trial.strays[0]}")
    return "in a run that completed, and one that was cancelled"
