"""Rules about what a plugin tells, and what it leaves behind."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from plugin_framework.testing.conformance.rule import Broken

if TYPE_CHECKING:
    from plugin_framework.testing.conformance.case import Case
    from plugin_framework.testing.conformance.trial import Trial

SHORTEST_SECRET = 6
"""Characters: a shorter one would be found in any text."""

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:pass(?:word|wd|phrase)?|secret|token|credentials?|(?:api|private|access)_?key)(?:$|_)"
)


def stays_in_work_dir(case: Case) -> str:
    """Nothing is written outside the task's folders, and no temporary file is left."""
    for trial in (case.plain, case.cancelled):
        wrote = [fact["path"] for fact in trial.facts if fact["fact"] == "wrote"]
        if wrote:
            raise Broken(f"it writes outside its work folder: {', '.join(wrote[:3])}")
        if trial.left:  # by what is not Python, which tells of all that it writes
            raise Broken(f"it leaves {', '.join(trial.left[:3])}")
    return "in a run that completed, and one that was cancelled"


def no_secret_in_logs(case: Case) -> str:
    """No secret of the config, the environment or the framework is told."""
    fields = list(_secret_fields(case))
    added = {key: f"canary-{secrets.token_hex(12)}" for key in fields if key not in case.config}
    trial = case.plain
    told = f"secret fields: {', '.join(fields)}" if fields else "its config has no secret field"
    if added:
        config = {**case.config, **added}
        if case.takes(config):
            trial = case.stage.run(case.sample, config)
        else:
            told += "; none of ours is valid there, so give them values"
            added = {}
    given = {key: str(case.config[key]) for key in fields if key in case.config}
    for name, secret in {**given, **added}.items():
        if len(secret) >= SHORTEST_SECRET:
            _check_untold(trial, secret, f"the value of {name}")
    for secret in case.stage.secrets:
        _check_untold(trial, secret, "the value of a variable of its environment")
    return told


def _check_untold(trial: Trial, secret: str, what: str) -> None:
    for line in trial.lines:
        if secret in line.message:
            raise Broken(f"{what} is in the log, in a line of {line.logger}")
    if secret in (trial.outcome.error or ""):
        raise Broken(f"{what} is in the error that Datahub's users see")
    if secret in json.dumps(trial.outcome.result):
        raise Broken(f"{what} is in the result")


def _secret_fields(case: Case) -> Iterator[str]:
    """The keys of the config's fields that hold text nobody should read."""
    for name, field in case.plugin.Config.model_fields.items():
        key = field.alias or name
        hidden = _holds(field, SecretStr) or _holds(field, SecretBytes)
        if hidden or (_holds(field, str) and _SECRET_NAME.search(name.lower())):
            yield key


def _holds(field: FieldInfo, kind: type) -> bool:
    annotation: Any = field.annotation
    return annotation is kind or kind in getattr(annotation, "__args__", ())


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
