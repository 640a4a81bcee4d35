"""Writes the pages of ``docs/reference`` from the code they describe. ``make docs`` runs it."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import error_pages
import sequence_diagram
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import plugin_framework
from plugin_framework import errors, testing
from plugin_framework.cli.app import app, exit_code
from plugin_framework.plugin import hookspecs
from plugin_framework.plugin.hookspecs import ObserverHooks, TaskHooks
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.service.metrics import Metrics
from plugin_framework.service.request_log import CALLS
from plugin_framework.service.running import NodeSeen, Outlook, QueueSeen
from plugin_framework.settings import describe_settings
from plugin_framework.telemetry.figures import TaskFigures

DOCS = Path(__file__).parent
FOLDER = DOCS / "reference"
SOURCES = Path(plugin_framework.__file__).parent
LINE = 88
NOTE = "<!-- Written by docs/generate.py: change the code, then run `make docs`. -->\n"

EXIT_CODES = {
    0: "The task completed (status 3), and Datahub has acknowledged it.",
    1: "The task failed (status 5), and Datahub has acknowledged it.",
    2: "Usage, configuration or an unknown plugin; or Datahub refused the start. Nothing was run.",
    4: "The task was cancelled (status 4), and Datahub has acknowledged it.",
    69: "Datahub could not be reached at the start. Nothing was run.",
    75: "The task ended, but a report is undelivered and kept in the journal; or the subtask is"
    " already running on this machine.",
    130: "Stopped by SIGINT, and no other code applies.",
    143: "Stopped by SIGTERM, and no other code applies.",
}

# What each label of a metric may be.
LABELS = {
    "call": ", ".join(f"`{call}`" for call in sorted(CALLS)) + "; `other` for any other path",
    "status": "of a request, the HTTP status of its answer; of a subtask, "
    + ", ".join(f"`{status.name.lower()}`" for status in TaskStatus if status.is_final)
    + "; of an attempt, also `initial`, `running` and `paused`, where another is to follow",
    "direction": "`download`, `upload`",
    "kind": "`status`, `result`",
    "outcome": "of a heartbeat, `sent` or `missed`; of a report that was sent, `delivered`,"
    " `failed` (it is sent again) or `refused`; of a transfer, `done` or `failed`",
    "state": "`waiting`, `running`, `paused`; what is paused keeps its place",
    "plugin": "the plugins that are served",
    "class": "what a subtask needs, such as `c1` or `c4-g1-m32g`",
    "node": "the nodes that live: with each start of a worker, another",
}

# A cluster of which there is something to tell.
OUTLOOK = Outlook(
    nodes=[NodeSeen("a", ["p"], 1, 0, draining=False, age=0.0, ended={"completed": 1})],
    queues=[QueueSeen("p", "c1", 0, None, None)],
)

# In the order in which authors meet them.
CLASSES = (
    "DatahubPlugin",
    "PluginConfig",
    "TaskContext",
    "TaskResult",
    "UploadedFile",
    "TaskStatus",
    "TaskOutcome",
    "Settings",
)
# Where there is more about a class; it is told here alone.
MORE = {
    "DatahubPlugin": "Its hooks are described under [hooks](hooks.md).",
    "Settings": "Its fields are the [settings](settings.md), in small letters without `DATAHUB_`.",
}
FUNCTIONS = ("run_local", "run_task")
ELSEWHERE = {
    "Field": "pydantic's `Field`, for the fields of a `Config`.",
    "hookimpl": "Marks the hooks of an extension; see [hooks](hooks.md).",
    "__version__": "The version of the framework, as text.",
}


def main() -> None:
    """Write all pages and drawings."""
    (FOLDER / "errors").mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    for name, text in drawings().items():
        (DOCS / "images" / name).write_text(text, encoding="utf-8")


def drawings() -> dict[str, str]:
    """The sequence diagrams, by the names of their files in ``docs/images``."""
    sources = sorted((DOCS / "diagrams").glob("*.txt"))
    return {
        f"flow-{source.stem}.svg": sequence_diagram.svg(source.read_text(encoding="utf-8"))
        for source in sources
    }


def pages() -> dict[str, str]:
    """The text of each page, by its file name."""
    made: dict[str, Callable[[], Iterator[str]]] = {
        "settings.md": settings_page,
        "command.md": command_page,
        "hooks.md": hooks_page,
        "errors.md": errors_page,
        "context.md": context_page,
        "metrics.md": metrics_page,
        "testing.md": testing_page,
    }
    written = {name: NOTE + "\n" + "\n".join(page()) + "\n" for name, page in made.items()}
    return written | error_pages.pages(NOTE)


def settings_page() -> Iterator[str]:
    """One table of all variables."""
    yield "# Settings\n"
    yield "Each setting is an environment variable. Where one is given more than once, the first of"
    yield "these wins: an option of the command, the environment, `.env` in the current folder, a"
    yield "secret file, the default. An empty variable counts as not set. Secrets, and they alone,"
    yield "are also read from files: the file in `DATAHUB_SECRETS_DIR` that is named after the"
    yield "variable.\n"
    yield "A wrong value is one line on stderr that names the variable, and exit code 2. An unknown"
    yield "`DATAHUB_` variable is a warning that names the nearest known one.\n"
    rows = [
        (f"`{row.variable}`", row.default, row.expected, row.meaning + _marks(row.variable))
        for row in describe_settings()
    ]
    yield table(("variable", "default", "expected", "meaning"), rows)
    yield "\n¹ A secret: never shown, and not in the environment of the plugin's process."
    if not all(is_used(row.variable) for row in describe_settings()):
        yield "\n² Read and checked, but without effect in this release."


def _marks(variable: str) -> str:
    row = next(row for row in describe_settings() if row.variable == variable)
    return " ¹" * row.secret + " ²" * (not is_used(variable))


def is_used(variable: str) -> bool:
    """Whether any code but that of the settings reads it."""
    field = variable.removeprefix("DATAHUB_").lower().rsplit("__", maxsplit=1)[-1]
    if field in {"allow_insecure", "base_url", "secrets_dir"}:  # by way of other settings
        return True
    files = (path for path in SOURCES.rglob("*.py") if path.parent.name != "settings")
    return any(re.search(rf"\.{field}\b", path.read_text(encoding="utf-8")) for path in files)


def command_page() -> Iterator[str]:
    """The help of every command, and the exit codes."""
    yield "# Command\n"
    yield "`datahub-plugin`, or `python -m plugin_framework`.\n"
    for context in contexts():
        name = context.command_path
        yield f"## {name}\n" if name != "datahub-plugin" else "## Commands\n"
        yield f"```text\n{context.get_help()}\n```\n"
    yield "## The outcome\n"
    yield "`run` prints one JSON object on stdout, and nothing else there:\n"
    yield '```json\n{"subtask_id": "s-1", "status": 3, "status_name": "completed",'
    yield ' "result": {"total_counts": 2, "success_counts": 2, "failed_counts": 0},'
    yield ' "outputs": [{"name": "words.tsv", "size": 30, "sha256": "b6669fdf..."}],'
    yield ' "error": null, "delivered": true, "attempt": 1}\n```\n'
    yield "Logs go to stderr: on a terminal as text with a live line, elsewhere one JSON object a"
    yield "line. `DATAHUB_LOG_FORMAT` chooses.\n"
    yield "## Exit codes\n"
    yield "Of `run`:\n"
    yield table(("code", "meaning"), [(str(code), text) for code, text in EXIT_CODES.items()])
    yield "\nOf the others, where it is more than 0 after success and 2 after wrong usage or"
    yield "configuration:\n"
    rows = [
        (f"`{context.command_path}`", str(code), text)
        for context in contexts()
        for code, text in exit_codes(context.command).items()
        if context.info_name != "run"
    ]
    yield table(("command", "code", "meaning"), rows)


def exit_codes(command: click.Command) -> dict[int, str]:
    """The exit codes that the help of a command names, with what they mean."""
    _, _, codes = inspect.cleandoc(command.help or "").partition("Exit codes:\n")
    found = re.findall(r"^ +(\d+) +(.+)$", codes.partition("\n\n")[0], re.MULTILINE)
    return {int(code): text for code, text in found}


def contexts() -> Iterator[click.Context]:
    """That of the command itself, and those of its subcommands in the order of their names.

    They are as on a terminal of 80 columns, of which click leaves two free.
    """
    top = click.Context(app, info_name="datahub-plugin", terminal_width=78, **app.context_settings)
    yield top
    yield from _below(top, app)


def _below(above: click.Context, group: click.Group) -> Iterator[click.Context]:
    for name, command in sorted(group.commands.items()):
        context = click.Context(command, parent=above, info_name=name, **command.context_settings)
        yield context
        if isinstance(command, click.Group):
            yield from _below(context, command)


def hooks_page() -> Iterator[str]:
    """Every hook with its signature."""
    yield "# Hooks\n"
    yield f"{markdown(hookspecs)}\n"
    for title, owner in (("Task hooks", TaskHooks), ("Observer hooks", ObserverHooks)):
        yield f"## {title}\n"
        yield f"{markdown(owner)}\n"
        for name, hook in members(owner):
            yield entry(name, hook)


def errors_page() -> Iterator[str]:
    """The tree, and what each error means and leads to."""
    yield "# Errors\n"
    intro, _, tree = inspect.cleandoc(errors.__doc__ or "").partition("\n\n")
    yield f"{intro}\n"
    yield f"```text\n{textwrap.dedent(tree)}\n```\n"
    yield "The exit code is that of `datahub-plugin run` where the error ends the run."
    yield "`RetryableError` and `FinalError` do so at the start only: a report that cannot be"
    yield "delivered later is kept, and the code is 75.\n"
    yield from error_pages.codes()
    for name, kind in error_classes().items():
        yield f"## {name}\n"
        yield f"{markdown(kind)}\n"
        yield f"{leads_to(kind)} Code: {error_pages.link(kind)}.\n"


def error_classes() -> dict[str, type[BaseException]]:
    """All error classes, in the order of the module."""
    return {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, BaseException)
    }


def leads_to(kind: type[BaseException]) -> str:
    """What the command makes of an error."""
    if not issubclass(kind, errors.DatahubError):
        return "Ends the task as its reason says: exit code 4 after a cancel, 1 after a failure."
    if kind is errors.DatahubError:
        return "Exit code: see the kinds below."
    if issubclass(kind, errors.TaskError | errors.TransferError):
        return "Exit code: 1."
    return f"Exit code: {exit_code(kind.__new__(kind))}."


def metrics_page() -> Iterator[str]:
    """What the service tells Prometheus."""
    yield "# Metrics\n"
    yield "What Prometheus is told, where prometheus-client is installed (the extra `telemetry`)."
    yield "[Observe](../how-to/observe.md) shows how. [`serve`](../how-to/serve.md) has all of them"
    yield "at `GET /metrics`; `run` and `worker` have those that the last column says, where"
    yield "`DATAHUB_METRICS` does. No label holds a subtask's id.\n"
    rows = [
        (
            f"`{name}`",
            kind,
            ", ".join(f"`{label}`" for label in labels) or "-",
            meaning,
            "all" if name in everywhere() or name.startswith("process_") else "`serve`",
        )
        for name, kind, labels, meaning in metrics()
    ]
    yield table(("metric", "type", "labels", "meaning", "where"), rows)
    yield "\nA metric whose name begins with `process_` is about the supervisor's own process. The"
    yield "processes of plugins are not counted in it: `datahub_attempt_memory_bytes` is theirs."
    yield "Those of attempts, transfers, heartbeats and tries of reports are about what runs in the"
    yield "process that is asked: where subtasks run on"
    yield "[many machines](../how-to/run-on-many-machines.md), the workers have them. Those of"
    yield "nodes, of queues and of what is handed over are there in that case alone.\n"
    yield table(("label", "values"), [(f"`{name}`", text) for name, text in LABELS.items()])


def everywhere() -> set[str]:
    """The names of the metrics that `run` and `worker` have, too."""
    registry = CollectorRegistry()
    TaskFigures(registry)
    families = list(registry.collect())
    return {one.name + "_total" * (one.type == "counter") for one in families}


def metrics() -> Iterator[tuple[str, str, list[str], str]]:
    """Each metric's name, type, labels and meaning, from a service that ran one subtask."""
    figures = Metrics()
    figures.request("ready", 200, 0.0)
    figures.ended(TaskStatus.COMPLETED)
    figures.tasks.datahub_attempt_begun("s", "p")
    figures.tasks.datahub_stalled("s")
    figures.tasks.datahub_attempt_ended("s", TaskStatus.COMPLETED, 1.0, 1)
    figures.watch(lambda: (0, 0.0))
    shown = figures.text({"running": 0}, OUTLOOK).decode()
    for family in text_string_to_metric_families(shown):
        if family.name.endswith("_created"):  # when a counter began: the client's own affair
            continue
        name = family.name + "_total" * (family.type == "counter")
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        yield name, family.type, labels, family.documentation


def context_page() -> Iterator[str]:
    """The public names of the package."""
    yield "# The Python surface\n"
    yield "All of it is imported from `plugin_framework`. For the errors, see"
    yield "[errors](errors.md).\n"
    for name in CLASSES:
        yield from class_section(plugin_framework, name)
    yield "## Functions\n"
    for name in FUNCTIONS:
        yield from function(plugin_framework, name)
    yield "## Other names\n"
    yield table(("name", "what it is"), [(f"`{name}`", text) for name, text in ELSEWHERE.items()])


def testing_page() -> Iterator[str]:
    """The public names of the test kit."""
    yield "# The test kit\n"
    yield "For the tests of plugins; [test a plugin](../how-to/test-a-plugin.md) shows how to use"
    yield "it. The fixtures are there wherever pytest is; the names are imported from"
    yield "`plugin_framework.testing`.\n"
    yield "## Fixtures\n"
    rows = [(f"`{name}`", f"`{kind}`", meaning) for name, kind, meaning in fixtures()]
    yield table(("fixture", "is a", "meaning"), rows)
    names = [(name, getattr(testing, name)) for name in testing.__all__]
    yield "\n## Functions\n"
    for name, value in names:
        if inspect.isfunction(value):
            yield from function(testing, name)
    for name, value in names:
        if not inspect.isfunction(value):
            yield from class_section(testing, name)


def fixtures() -> Iterator[tuple[str, str, str]]:
    """The name, type and meaning of each fixture that the pytest plugin has."""
    module = ast.parse((SOURCES / "testing" / "pytest_plugin.py").read_text(encoding="utf-8"))
    for one in module.body:
        if not isinstance(one, ast.FunctionDef) or one.name.startswith("_"):
            continue
        if any("fixture" in ast.unparse(decorator) for decorator in one.decorator_list):
            kind = re.sub(
                r"^Iterator\[(.+)\]$", r"\1", ast.unparse(one.returns or ast.Constant(""))
            )
            yield one.name, kind, (ast.get_docstring(one) or "").replace("``", "`")


def class_section(home: ModuleType, name: str) -> Iterator[str]:
    """A class and its public members."""
    owner = getattr(home, name)
    yield f"## {name}\n"
    if name == "TaskStatus":
        yield f"{markdown(owner)}\n"
        yield table(("status", "name"), [(str(int(one)), one.name) for one in list(owner)])
        yield ""
        return
    entries = [f"### {member}\n\n{described(member, value)}" for member, value in members(owner)]
    if name in MORE:
        yield f"{markdown(owner)}\n\n{MORE[name]}\n"
        yield from [] if name == "DatahubPlugin" else entries
        return
    if is_dataclass(owner):
        yield call(name, owner)
    yield api(home, name, [f"{markdown(owner)}\n", *entries])


def function(home: ModuleType, name: str) -> Iterator[str]:
    """A function of a module."""
    value = getattr(home, name)
    yield f"### {name}\n\n{call(name, value)}"
    yield api(home, name, [f"{markdown(value)}\n"])


def api(home: ModuleType, name: str, parts: Sequence[str]) -> str:
    """What describes a name here; in the site, mkdocstrings does so instead (site_hooks.py)."""
    text = "\n".join(parts)
    return f"<!-- api: {home.__name__}.{name} -->\n\n{text}\n<!-- end of api -->\n"


def members(owner: type) -> Iterator[tuple[str, Any]]:
    """The documented functions and properties that a class defines, in their order."""
    for name, value in vars(owner).items():
        if name.startswith("_") or name == "settings_customise_sources":
            continue
        if inspect.isfunction(value) or isinstance(value, property):
            yield name, value


def entry(name: str, value: Any) -> str:
    """A heading, a signature and a docstring."""
    return f"### {name}\n\n{described(name, value)}"


def described(name: str, value: Any) -> str:
    """A signature and a docstring."""
    return f"{call(name, value)}\n{markdown(value)}\n"


def call(name: str, value: Any) -> str:
    """A name with its parameters, as a block."""
    signature = "" if isinstance(value, property) else signature_of(value)
    return f"```text\n{name}{signature}\n```\n"


def signature_of(function: Callable[..., Any]) -> str:
    """A signature without ``self``, as the source spells it; a long one over several lines."""
    whole = inspect.signature(function)
    shown = [_spelt(one) for one in whole.parameters.values() if one.name != "self"]
    answer = "" if inspect.isclass(function) else f" -> {_named(whole.return_annotation)}"
    text = str(whole.replace(parameters=shown, return_annotation=whole.empty))
    if len(text) + len(answer) <= LINE:
        return text + answer
    lines = ["*"] if shown[0].kind is shown[0].KEYWORD_ONLY else []
    for before, one in zip([None, *shown], shown, strict=False):
        if before and before.kind is not one.kind is one.KEYWORD_ONLY:
            lines.append("*")
        lines.append(str(one))
    return "(\n    " + ",\n    ".join(lines) + f",\n){answer}"


def _named(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _spelt(parameter: inspect.Parameter) -> inspect.Parameter:
    default = parameter.default
    if inspect.isfunction(default):
        default = Spelt("...")
    return parameter.replace(default=default, annotation=Spelt(parameter.annotation))


class Spelt:
    """Prints as the text it holds."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def markdown(documented: Any) -> str:
    """A docstring as Markdown: its ``Raises`` and the like as lists, its examples in fences."""
    text = inspect.cleandoc(documented.__doc__ or "").replace("``", "`")
    return "\n\n".join(_paragraph(part) for part in text.split("\n\n"))


def _paragraph(text: str) -> str:
    title, _, rest = text.partition("\n")
    if re.fullmatch(r"(Args|Attributes|Class attributes|Raises):", title):
        return f"**{title[:-1]}**\n\n" + "\n".join(map(_item, textwrap.dedent(rest).splitlines()))
    if text.startswith("    "):
        return f"```text\n{textwrap.dedent(text)}\n```"
    return text


def _item(line: str) -> str:
    names, colon, meaning = line.partition(": ")
    if line.startswith(" ") or not colon:
        return f"  {line.strip()}"
    return f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {meaning}"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
