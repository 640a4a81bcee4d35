"""The command: which plugins, and what is printed."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from plugin_framework.cli.streams import own_stdout

if TYPE_CHECKING:
    from plugin_framework.cli.doctor.case import Case
    from plugin_framework.cli.doctor.finding import Finding
    from plugin_framework.cli.doctor.reading import Row
    from plugin_framework.errors import ConfigurationError

_REMEDY = "mend: "
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "bright_black"}


@click.command("doctor")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor_command(names: tuple[str, ...], *, as_json: bool) -> None:
    """Find out what is wrong with the settings, the way to Datahub and this machine.

    Shows every setting with its value and where it comes from, then what was found, with a remedy
    for what is not well. Looks at all installed plugins, or at those given. Datahub is asked for
    the status of a task that does not exist; nothing is changed, there or here. With
    DATAHUB_ENGINE=celery broker, queues, store and workers are looked at, too; a store that was
    never used gets its tables.

    \b
    Exit codes:
      0    nothing is wrong; there may be warnings
      1    something is wrong
      2    usage, or no plugin has that name
    """  # noqa: D301 - the \b is click's, and keeps the lines as they are
    from plugin_framework.cli.doctor.case import Case  # noqa: PLC0415 - loaded late
    from plugin_framework.cli.doctor.examine import findings  # noqa: PLC0415 - loaded late
    from plugin_framework.cli.doctor.reading import read  # noqa: PLC0415 - loaded late

    unknown = _unknown(names)
    if unknown is not None and not as_json:
        raise unknown
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    with _silence(), own_stdout() as say:
        case = Case(read(), names)
        in_colour = on_terminal and "NO_COLOR" not in case.reading.environ
        paint = click.style if in_colour else _plain
        rows = [replace(row, value=case.fit_to_print(row.value)) for row in case.reading.rows]
        if not as_json:
            say("\n".join(_table(rows)))
        found = []
        for one in findings(case):
            found.append(_fit_to_print(case, one))
            if not as_json:
                say("\n".join(_lines(found[-1], paint)))
        say(_json(rows, found) if as_json else _summary(found))
    if unknown is not None:
        sys.exit(2)
    sys.exit(1 if any(one.level == "fail" for one in found) else 0)


def _unknown(names: Sequence[str]) -> ConfigurationError | None:
    """Why one of them is no plugin's name."""
    from plugin_framework.errors import ConfigurationError, PluginLoadError  # noqa: PLC0415 - late
    from plugin_framework.plugin.loader import find_plugin  # noqa: PLC0415 - loaded late

    for name in names:
        try:
            find_plugin(name)
        except PluginLoadError:
            continue  # it is; that it is of no use is what there is to find
        except ConfigurationError as error:
            return error
    return None


@contextmanager
def _silence() -> Iterator[None]:
    """What libraries would log is found, and said, here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _fit_to_print(case: Case, one: Finding) -> Finding:
    remedy = None if one.remedy is None else case.fit_to_print(one.remedy)
    return replace(one, message=case.fit_to_print(one.message), remedy=remedy)


def _table(rows: Sequence[Row]) -> Iterator[str]:
    yield f"settings ({len(rows)}; * is given)"
    widths = [max(len(text) for text in column) for column in _columns(rows)]
    for row, cells in zip(rows, zip(*_columns(rows), strict=True), strict=True):
        mark = "*" if row.source != "default" else " "
        name, value = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        over = f" (over {', '.join(row.overrides)})" if row.overrides else ""
        yield f"{mark} {name}  {value}  {row.source}{over}".rstrip()
    yield ""
    yield "findings"


def _columns(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    return [row.variable for row in rows], [row.value for row in rows]


def _plain(text: str, **_style: str) -> str:
    return text


def _lines(one: Finding, paint: Callable[..., str]) -> Iterator[str]:
    level = paint(f"{one.level:<4}", fg=_COLOURS[one.level])
    code = f" [{one.code}]" if one.code else ""
    yield f"  {level}  {one.check:<10}  {one.message}{code}"
    if one.remedy is not None:
        yield f"{'':20}{_REMEDY}{one.remedy}"


def _summary(found: Sequence[Finding]) -> str:
    count = Counter(one.level for one in found)
    if not count["fail"] and not count["warn"]:
        return "\nnothing is wrong"
    warnings = f"{count['warn']} warning{'' if count['warn'] == 1 else 's'}"
    return f"\n{count['fail']} wrong, {warnings}"


def _json(rows: Sequence[Row], found: Sequence[Finding]) -> str:
    count = Counter(one.level for one in found)
    levels = {level: count[level] for level in ("ok", "warn", "fail", "skip")}
    return json.dumps(
        {
            "ok": not count["fail"],
            "counts": levels,
            "settings": [asdict(row) for row in rows],
            "findings": [asdict(one) for one in found],
        },
        indent=2,
    )
