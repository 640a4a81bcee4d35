"""All rules, in the order in which they are tried: last those that look at the runs of all."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from plugin_framework.errors import ConfigurationError
from plugin_framework.testing.conformance import (
    judging_control,
    judging_tidiness,
    judging_work,
)
from plugin_framework.testing.conformance.rule import Rule

RULES = (
    Rule(
        "version-and-description",
        "The plugin says what it does, and which version it is",
        "`datahub-plugin list`, the form and every log name it by these.",
        "Begin the class with a docstring whose first line is short, and give `version`, or install"
        " the plugin as a distribution.",
        judging_work.version_and_description,
    ),
    Rule(
        "config-schema",
        "Its config has a JSON Schema, and takes its own values",
        "The form is drawn from the schema; a default that does not validate fails every task that"
        " was configured with the form.",
        "Use types that pydantic can put as a JSON Schema, defaults within their own bounds, and"
        " Field(title=...) for what the form is to call each field.",
        judging_work.config_schema,
    ),
    Rule(
        "result-is-json",
        "Every sample gives a result that can be sent",
        "What `process` returns goes to Datahub as JSON; what is not JSON fails the task after all"
        " the work.",
        "Return a TaskResult or a mapping of text, numbers, lists and mappings, and raise"
        " PluginError for an input that the plugin does not read.",
        judging_work.result_is_json,
    ),
    Rule(
        "counts-add-up",
        "The total is the sum of successes and failures",
        "Datahub's users see the three counts, and rely on them to find what is missing.",
        "Count each item once: total_counts = success_counts + failed_counts.",
        judging_work.counts_add_up,
    ),
    Rule(
        "progress",
        "It says how far it is",
        "A task that stays at 0 % looks as if it hung, and is cancelled by people.",
        "Iterate with ctx.track(), or call ctx.progress() with a percentage that rises to 100 at"
        " the end of the work: the framework sees to downloads and uploads.",
        judging_work.progress,
    ),
    Rule(
        "heartbeats",
        "Datahub hears of it all the time",
        "A task that sends no heartbeat counts as lost. In a thread, code that holds the"
        " interpreter's lock holds the heartbeats too.",
        'Remove `isolation = "thread"`: in a process of its own no code can delay them.',
        judging_work.heartbeats,
    ),
    Rule(
        "cancel",
        "A cancel ends it soon, and in good order",
        "Who cancels a task expects it to stop; after the grace period its process is killed, and"
        " nothing is cleaned up.",
        "Call ctx.checkpoint() often, let TaskCancelled pass, and have on_cancel raise nothing.",
        judging_control.cancel,
    ),
    Rule(
        "pause",
        "A pause holds all of its work",
        "A task is paused to have its machine free.",
        "Call ctx.checkpoint() in every thread that works. For work that cannot come to one, set"
        ' `pause_mode = "freeze"`.',
        judging_control.pause,
    ),
    Rule(
        "resume-after-kill",
        "Killed, it completes with the same output at the next attempt",
        "Machines crash. The next attempt finds the files of the last one in ctx.work_dir, and what"
        " it saved in ctx.state.",
        "Take files that are there already for what they are: write to a temporary name and rename,"
        " or cut off what was written after the last ctx.save_state(). Count what ctx.state says is"
        " done.",
        judging_control.resume_after_kill,
    ),
    Rule(
        "empty-input",
        "An empty input completes, or is refused in words",
        "Empty files are sent every day; a traceback tells their sender nothing.",
        "Return a result of zero counts, or raise PluginError.",
        judging_control.empty_input,
    ),
    Rule(
        "hostile-names",
        "What the input is called makes no difference",
        "A file's name comes from outside. In a command line or a format string it becomes code.",
        "Hand paths to ctx.run() as a list of words, never to a shell.",
        judging_control.hostile_file_names,
    ),
    Rule(
        "memory",
        "Its memory does not grow with the input",
        "The largest input decides how large a machine must be, and one that is larger still kills"
        " the task.",
        "Read and write in blocks: iterate over the open file, use ctx.open_input().",
        judging_work.memory,
    ),
    Rule(
        "huge-input",
        "A huge input completes, or is refused in words",
        "A crash at the end of hours of work tells nobody what to do.",
        "Read in blocks, or look at the input's size first, and raise PluginError.",
        judging_work.huge_input,
    ),
    Rule(
        "stays-in-work-dir",
        "It writes only where it may",
        "Tasks run side by side, and in containers that cannot be written to; what is left"
        " elsewhere fills the disk.",
        "Write to ctx.work_dir, or to temporary files that are removed before process returns; keep"
        " for later runs only what a cache folder is for.",
        judging_tidiness.stays_in_work_dir,
    ),
    Rule(
        "no-secret-in-logs",
        "It tells no secret",
        "Logs, errors and results are read by people who must not know the config's passwords.",
        "Declare secrets as SecretStr, never log the whole config or environment, and keep secrets"
        " out of error messages.",
        judging_tidiness.no_secret_in_logs,
    ),
    Rule(
        "no-orphan",
        "No process outlives its work",
        "What is left running takes memory and processor time from other tasks, and is killed"
        " without warning.",
        "Start commands with ctx.run(), and pools of processes in a `with` block.",
        judging_tidiness.no_orphan,
    ),
)


def rules_called(ids: Iterable[str] | None) -> tuple[Rule, ...]:
    """The rules of these ids, in their own order; all of them where none is named.

    Raises:
        ConfigurationError: there is no such rule.
    """
    wanted = list(ids or ())
    known = {rule.id: rule for rule in RULES}
    problems = [_unknown(id_, known) for id_ in wanted if id_ not in known]
    if problems:
        raise ConfigurationError(problems)
    return tuple(rule for rule in RULES if not wanted or rule.id in wanted)


def _unknown(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
    return f"no rule is called {given!r}: {hint}"
