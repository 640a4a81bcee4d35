"""``check``: tries a plugin by the rules that every plugin should keep."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plugin_framework.cli.info import import_from_here
from plugin_framework.cli.logs import tell
from plugin_framework.cli.streams import own_stdout
from plugin_framework.errors import Code, ConfigurationError, Problem

if TYPE_CHECKING:
    from plugin_framework.testing.conformance import Finding, Report

PLAIN_WIDTH = 100
"""Characters of a line of the table, where it does not go to a terminal."""


@click.command("check", short_help="Try a plugin by the rules for plugins.")
@click.argument("name")
@click.option(
    "--sample",
    "samples",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True),
    help="An input that the plugin takes; else the suite tries its own.",
)
@click.option("--config", metavar="FILE|JSON", help="The config of all runs.")
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="One value of the config: JSON, or else text.",
)
@click.option("--rule", "rules", metavar="ID", multiple=True, help="Try this rule only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and no table.")
@click.option(
    "--junit",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Write JUnit XML, too.",
)
def check_command(
    name: str,
    *,
    samples: tuple[Path, ...],
    config: str | None,
    assignments: tuple[str, ...],
    rules: tuple[str, ...],
    as_json: bool,
    junit: Path | None,
) -> None:
    """Run plugin NAME many times, and see that it keeps the rules for plugins.

    NAME is an installed plugin, or a reference such as package.module:Class. It is run against a
    local Datahub: paused, cancelled, killed, given odd names, empty and huge inputs. A rule that
    cannot be tried is told of, with the reason.

    \b
    Exit codes:
      0    no rule is broken
      1    a rule is broken
      2    usage, configuration or unknown plugin
    """  # noqa: D301 - the \b is click's, and keeps the lines as they are
    from plugin_framework.cli.config import read_config  # noqa: PLC0415 - loaded late
    from plugin_framework.testing.conformance import check_plugin  # noqa: PLC0415 - loaded late

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    if junit is not None:
        _see_that_it_can_be_written(junit)
    import_from_here(name)
    with own_stdout() as say:
        report = check_plugin(
            name,
            samples=samples,
            config=read_config(config, assignments),
            rules=rules,
            on_finding=_shown_meanwhile(),
        )
        if junit is not None:
            _write(junit, report.as_junit())
        say(json.dumps(report.as_json(), ensure_ascii=False) if as_json else _as_text(report))
    sys.exit(0 if report.passed else 1)


def _leave(number: int, _frame: object) -> None:
    """End in good order: processes and files are cleared away."""
    told = f"stopped by {signal.Signals(number).name}"
    tell(Problem(told, Code.STOPPED_BY_SIGNAL))
    sys.exit(128 + number)


def _shown_meanwhile() -> Callable[[Finding], None]:
    """Shows on a terminal what has been tried so far, for it takes a while."""

    def show(finding: Finding) -> None:
        click.echo(f"\r\x1b[K{finding.rule.id} {finding.outcome}", nl=False, err=True)

    return show if sys.stderr.isatty() else lambda _finding: None


def _as_text(report: Report) -> str:
    from rich.console import Console  # noqa: PLC0415 - loaded late

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    with console.capture() as text:
        console.print(report.as_table())
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    return f"{text.get().rstrip()}\n\n{report.summary}"


def _see_that_it_can_be_written(path: Path) -> None:
    """The rules take minutes: better now than when they are over."""
    if path.exists() and not path.is_file():  # a pipe, say, whose reader would see its end
        return
    with _told_of(path):
        is_new = not path.exists()
        path.open("a").close()
        if is_new:
            path.unlink()


def _write(path: Path, text: str) -> None:
    with _told_of(path):
        path.write_text(text, "utf-8")


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"--junit {path}: {error.strerror}") from None
