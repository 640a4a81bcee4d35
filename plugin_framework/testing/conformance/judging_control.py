"""Rules about a plugin that is paused, cancelled or killed, and about odd inputs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from plugin_framework.protocol.models import TaskStatus
from plugin_framework.testing.conformance import processes
from plugin_framework.testing.conformance.rule import Broken
from plugin_framework.testing.conformance.samples import RAN, hostile_names

if TYPE_CHECKING:
    from plugin_framework.testing.conformance.case import Case
    from plugin_framework.testing.conformance.live import Live
    from plugin_framework.testing.conformance.trial import Trial

PAUSE_SECONDS = 1.0
"""How long a pause is watched."""

MOST_CPU = 0.3
"""Of a pause, the share for which a plugin may be busy: it may look whether it is over."""

_NO_CHECKPOINT = (
    "process comes to no checkpoint: call ctx.checkpoint(), or iterate with ctx.track()"
)


def cancel(case: Case) -> str:
    """A cancel ends the task soon, without force, and no hook fails."""
    trial = case.cancelled
    _need_checkpoint(case, trial)
    if trial.outcome.status is not TaskStatus.CANCELLED:
        raise Broken(f"cancelled at checkpoint {case.middle}, it {trial.ended}")
    if trial.seconds_after("operator") >= case.stage.grace:
        raise Broken(
            f"cancelled at checkpoint {case.middle}, it did not end within"
            f" {case.stage.grace:g} s, and was killed"
        )
    if trial.hook_failures:
        raise Broken(f"a hook failed after the cancel: {trial.hook_failures[0]}")
    _cancel_between(case)
    return f"ended {trial.seconds_after('operator'):.1f} s after it"


def _cancel_between(case: Case) -> None:
    """Where it goes long without a checkpoint, a cancel in that time is heard, too."""
    returned = case.plain.fact("returned")
    if returned is None or returned["gap"] < case.stage.grace:
        return
    after = returned["gap_after"]
    trial = case.stage.run(case.sample, case.config, hold_at=after, meanwhile=_cancel_when_passed)
    where = f"checkpoint {after}" if after else "its start"
    if trial.seconds_after("operator") >= case.stage.grace:
        raise Broken(
            f"cancelled after {where}, from which it takes {returned['gap']:.1f} s to the next, it"
            f" did not end within {case.stage.grace:g} s, and was killed"
        )


def _cancel_when_passed(live: Live) -> None:
    if live.is_held():
        live.let_go()
        live.has_passed()
        live.ask(TaskStatus.CANCELLED)


def _need_checkpoint(case: Case, trial: Trial) -> None:
    if not case.plain.checkpoints and case.plugin.pause_mode != "freeze":
        raise Broken(_NO_CHECKPOINT)
    if not trial.seen["held"]:
        raise Broken(f"a second run did not come to checkpoint {case.middle}, but {trial.ended}")


def pause(case: Case) -> str:
    """A pause holds all work, and the task completes after it."""
    trial = case.stage.run(
        case.sample, case.config, hold_at=case.middle, meanwhile=_pause_and_resume
    )
    _need_checkpoint(case, trial)
    seen = trial.seen
    if not seen["paused"]:
        raise Broken(f"a pause at checkpoint {case.middle} did not take hold: {trial.ended}")
    if seen["busy"] > MOST_CPU:
        raise Broken(f"it works on while it is paused: busy for {seen['busy']:.0%} of the time")
    if seen["changed"]:
        raise Broken(f"it works on while it is paused: {seen['changed']}")
    if not trial.completed:
        raise Broken(f"paused and resumed, it {trial.ended}")
    _same_counts(case, trial, "paused and resumed")
    return f"held for {PAUSE_SECONDS:g} s at checkpoint {case.middle}, then completed"


def _pause_and_resume(live: Live) -> None:
    seen = live.seen
    seen.update(held=live.is_held(), paused=False, busy=0.0, changed="")
    if not seen["held"]:
        return
    seen["paused"] = live.ask(TaskStatus.PAUSED)
    if seen["paused"]:
        _watch(live)
        live.let_go()
        live.ask(TaskStatus.RUNNING)
    live.let_go()


def _watch(live: Live) -> None:
    """See what moves for a while, though nothing should."""
    pid = live.pid
    assert pid is not None, "what is held has begun"
    live.is_up_to_date()
    before = (live.footprint(), live.percent, processes.cpu_seconds(pid))
    threading.Event().wait(PAUSE_SECONDS)  # the time of which it is said what happened
    after = (live.footprint(), live.percent, processes.cpu_seconds(pid))
    live.seen["busy"] = (after[2] - before[2]) / PAUSE_SECONDS
    files = {name for name, _ in before[0].items() ^ after[0].items()}
    if files:
        live.seen["changed"] = f"{min(files)} in its work folder changes"
    elif after[1] != before[1]:
        live.seen["changed"] = f"progress goes from {before[1]} to {after[1]} %"


def resume_after_kill(case: Case) -> str:
    """Killed in its middle, the task comes to the same output at the next attempt."""
    trial = case.stage.run_killed(case.sample, case.config, at=case.middle)
    where = f"killed at checkpoint {case.middle}" if case.middle else "killed at its start"
    if not trial.seen["held"]:
        raise Broken(f"a run to be killed did not come to checkpoint {case.middle}")
    if not trial.seen["gone"]:
        raise Broken(f"{where}, its process went on")
    if not trial.completed:
        raise Broken(f"{where}, the next attempt {trial.ended}")
    _same_counts(case, trial, f"{where}, at the next attempt")
    if trial.outputs.keys() != case.plain.outputs.keys():
        raise Broken(
            f"{where}, the next attempt leaves the outputs {sorted(trial.outputs)}, and not"
            f" {sorted(case.plain.outputs)}"
        )
    told = _same_contents(case, trial, where)
    return f"{where}, attempt {trial.outcome.attempt} completed{told}"


def _same_contents(case: Case, trial: Trial, where: str) -> str:
    """What can be said of the contents, byte by byte."""
    if not trial.outputs:
        return ""
    differ = _differing(case.plain, trial)
    if not differ:
        return " with the same output"
    # After the resumed run: where the output holds the time, this one's is no earlier.
    again = case.stage.run(case.sample, case.config)
    varying = _differing(case.plain, again)
    for name in differ:
        if name not in varying:
            raise Broken(
                f"{where}, the next attempt leaves other contents in the output {name!r:.60}, which"
                " is the same in two undisturbed runs"
            )
    return (
        "; contents could not be compared: two undisturbed runs differ, too, in"
        f" {', '.join(differ):.60}"
    )


def _differing(one: Trial, other: Trial) -> list[str]:
    """The outputs of one run that are not, byte by byte, those of another."""
    return sorted(name for name, digest in one.outputs.items() if other.outputs.get(name) != digest)


def _same_counts(case: Case, trial: Trial, when: str) -> None:
    if trial.counts != case.plain.counts:
        raise Broken(f"{when}, it counts {trial.counts}, and undisturbed {case.plain.counts}")


def empty_input(case: Case) -> str:
    """An input of no bytes completes, or is refused in words."""
    trial = case.empty
    if not (trial.completed or trial.refused):
        raise Broken(f"an input of no bytes: {trial.ended}")
    return trial.ended


def hostile_file_names(case: Case) -> str:
    """What the input is called makes no difference."""
    names = hostile_names(case.sample.suffix)
    for name in names:
        trial = case.stage.run(case.sample, case.config, name=name)
        if not trial.completed:
            raise Broken(f"an input called {name!r:.60}: {trial.ended}")
        if any(left.startswith(RAN) for left in trial.left):
            raise Broken(f"a shell ran what stands in the name {name!r:.60}")
    return f"{len(names)} names"
