"""Rules about what a plugin says of itself, and of its work."""

from __future__ import annotations

import inspect
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from plugin_framework.testing.conformance.config_fields import untitled
from plugin_framework.testing.conformance.rule import Broken, NotApplicable, counted
from plugin_framework.testing.conformance.samples import MiB

if TYPE_CHECKING:
    from plugin_framework.testing.conformance.case import Case
    from plugin_framework.testing.conformance.trial import Trial

LONGEST_DESCRIPTION = 120
LONGEST_SILENCE = 2.0
"""Seconds, where heartbeats are due every 0.2."""

MOST_GROWTH = 0.25
"""Of what the input grows by: allocators are no exact science."""

WHOLE = 99.0
"""Percent that progress is to come to: what is rounded may not come to more."""

BEFORE_UPLOADS = 90.0
"""Percent that it is to come to where outputs follow: sending them may be kept a tenth of it."""

_COUNTS = ("total_counts", "success_counts", "failed_counts")


def version_and_description(case: Case) -> str:
    """The class has a docstring of its own, and a version from somewhere."""
    lines = inspect.cleandoc(case.plugin.__dict__.get("__doc__") or "").splitlines()
    version = case.plugin.version or case.ref.version
    if not lines or not lines[0]:
        raise Broken(f"the class {case.plugin.__name__} has no docstring of its own")
    if len(lines[0]) > LONGEST_DESCRIPTION:
        raise Broken(f"the first line of the docstring has {len(lines[0])} characters")
    if not version:
        raise Broken("neither the class nor an installed distribution says a version")
    return f"{version}: {lines[0]}"


def config_schema(case: Case) -> str:
    """The schema can be had, and takes its own defaults."""
    schema = case.stage.engine.schema()
    if schema.get("type") != "object":
        raise Broken("no JSON Schema can be made of its Config, so there is no form for it")
    nameless = list(untitled(case.plugin.Config))
    if nameless:
        raise Broken(f"the form has no words for {', '.join(nameless[:5])}: give a title")
    config = case.plugin.Config.model_validate(case.config)
    try:
        again = json.loads(config.model_dump_json(by_alias=True))
        case.plugin.Config.model_validate(again)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the config as a whole"
        raise Broken(f"its own values do not validate: {place}: {first['msg']}") from None
    except ValueError as error:
        raise Broken(f"its own values cannot be put as JSON: {error}") from None
    return counted(len(schema.get("properties", {})), "field")


def result_is_json(case: Case) -> str:
    """The runs on all samples end with a result, or say for people why not."""
    for trial in case.trials.values():
        _check_ended(case, trial)
    done = [trial for trial in case.trials.values() if trial.completed]
    if not done:
        refused = next(iter(case.trials.values()))
        raise NotApplicable(
            f"the plugin takes none of the suite's own samples ({refused.input}: {refused.ended});"
            " give one that it takes: --sample FILE, or samples = [...]"
        )
    return f"{len(done)} of {counted(len(case.trials), 'sample')} completed"


def _check_ended(case: Case, trial: Trial) -> None:
    if trial.completed or (trial.refused and not case.given):
        return
    if trial.refused:
        raise Broken(f"{trial.input} is refused: {trial.outcome.error}")
    told = "" if case.given else "; refuse with a PluginError what the plugin cannot read"
    raise Broken(f"{trial.input}: {trial.ended}{told}")


def counts_add_up(case: Case) -> str:
    """Of each result, the total is the sum of the other two counts."""
    _ = case.plain, case.empty
    completed = [trial for trial in case.made if trial.completed]
    for trial in completed:
        _check_counts(trial)
    return f"in {counted(len(completed), 'result')}"


def _check_counts(trial: Trial) -> None:
    result = trial.outcome.result or {}
    for name in _COUNTS:
        count = result.get(name)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            shown = "is missing" if name not in result else f"is {count!r:.40}"
            raise Broken(f"{trial.input}: {name} {shown}; expected a whole number of 0 or more")
    total, success, failed = trial.counts
    if total != success + failed:
        raise Broken(
            f"{trial.input}: total_counts is {total}, but success_counts {success} and"
            f" failed_counts {failed} make {success + failed}"
        )


def progress(case: Case) -> str:
    """``process`` says how far it is, in percent, moves, never falls back, and comes to 100."""
    facts = _returned(case.plain)
    if facts["progress"] and facts["first"] == facts["highest"]:
        facts = _told_of_more(case) or facts  # one step may be all that a small input takes
    times = counted(facts["progress"], "time")
    if not facts["progress"]:
        raise Broken("process never says how far it is: Datahub shows 0 % until the end")
    if facts["fell"]:
        raise Broken("progress falls back; it is to rise from 0 to 100")
    if 0 < facts["highest"] <= 1:
        raise Broken(f"progress ends at {facts['highest']:g}: it is in percent, from 0 to 100")
    if facts["highest"] < (BEFORE_UPLOADS if case.plain.outputs else WHOLE):
        raise Broken(f"progress ends at {facts['highest']:g} %; the work is done at 100")
    if facts["first"] == facts["highest"] and (facts["progress"] > 1 or facts["checkpoints"] > 1):
        raise Broken(f"progress does not move: told {times}, always {facts['highest']:g} %")
    return f"told {times}, up to {facts['highest']:g} %"


def _told_of_more(case: Case) -> dict[str, Any] | None:
    """What is told of a larger input; None where there is none that completes."""
    try:
        trial = case.grown(min(case.sizes))
    except NotApplicable:
        return None
    return _returned(trial) if trial.completed else None


def heartbeats(case: Case) -> str:
    """Datahub never waits long for a sign of life, whatever the plugin's code does."""
    threaded = case.plugin.isolation == "thread"
    where = "a thread, as it asks for" if threaded else "a process of its own"
    trials = [_run_again(case, threaded=True) if threaded else case.plain]
    if trials[0].longest_silence > LONGEST_SILENCE:  # a machine that is busy may be late, once
        trials.append(_run_again(case, threaded=threaded))
    silence = min(trial.longest_silence for trial in trials)
    beats = sum(event.kind == "heartbeat" for trial in trials for event in trial.events)
    if silence > LONGEST_SILENCE:
        raise Broken(f"no heartbeat for {silence:.1f} s, where one was due every 0.2 s, in {where}")
    if not beats:
        raise Broken(f"not one heartbeat was sent, in {where}")
    return f"{beats} sent, at most {silence:.1f} s apart, in {where}"


def _run_again(case: Case, *, threaded: bool) -> Trial:
    run = case.stage.run_in_a_thread if threaded else case.stage.run
    return run(case.sample, case.config)


def memory(case: Case) -> str:
    """Memory does not grow with the input; buffers may fill, so what seems to grow is looked at."""
    sizes = list(case.sizes)
    peaks = [_measured(case, size).peak for size in sizes]
    if _grows(sizes, peaks):
        sizes.append(3 * sizes[-1])
        peaks.append(_measured(case, sizes[-1]).peak)
    told = zip(peaks, sizes, strict=True)
    shown = ", ".join(f"{_mib(peak)} for an input of {_mib(size)}" for peak, size in told)
    if _grows(sizes, peaks):
        raise Broken(f"memory grows with the input: {shown}")
    return shown


def _grows(sizes: list[int], peaks: list[int]) -> bool:
    """Whether each input took so much more than the one before."""
    steps = zip(pairwise(sizes), pairwise(peaks), strict=True)
    return all(taken[1] - taken[0] > (size[1] - size[0]) * MOST_GROWTH for size, taken in steps)


def _measured(case: Case, size: int) -> Trial:
    trial = case.grown(size)
    if not trial.completed:
        raise NotApplicable(f"an input of {_mib(size)} does not complete: {trial.ended}")
    return trial


def huge_input(case: Case) -> str:
    """A huge input completes, or is refused in words."""
    size = max(case.sizes)
    trial = case.grown(size)
    if trial.overdue:
        raise NotApplicable(f"an input of {_mib(size)} {trial.ended}; choose smaller sizes")
    if not (trial.completed or trial.refused):
        raise Broken(f"an input of {_mib(size)}: {trial.ended}")
    return f"an input of {_mib(size)}: {trial.ended}, in {trial.seconds:.1f} s"


def _mib(size: int) -> str:
    return f"{size / MiB:.0f} MiB"


def _returned(trial: Trial) -> dict[str, Any]:
    facts = trial.fact("returned")
    assert facts is not None, "a completed run has returned"
    return facts
