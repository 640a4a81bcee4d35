"""``journal``: what is undelivered, what happened to a subtask, deliver it, tidy up."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from plugin_framework.cli.logs import set_up_logging
from plugin_framework.cli.streams import own_stdout
from plugin_framework.redaction import redacted

if TYPE_CHECKING:
    from plugin_framework.journal.journal import Journal
    from plugin_framework.journal.records import Record
    from plugin_framework.journal.view import View
    from plugin_framework.lifecycle.reporter import Delivery
    from plugin_framework.settings import Settings

DAY = 86_400.0
LEFT = 75
"""The exit code where something is still undelivered."""


@click.group("journal")
def journal_command() -> None:
    """See what is undelivered and what happened; deliver and tidy up.

    The journal in DATAHUB_STATE_DIR keeps every report until Datahub has it.
    """


@journal_command.command("list")
@click.option("--all", "everything", is_flag=True, help="All subtasks, delivered ones too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_command(*, everything: bool, as_json: bool) -> None:
    """List the subtasks with reports that Datahub has not got.

    \b
    undelivered  kept; `journal deliver` or the subtask's next run sends it
    refused      Datahub refused the start or the terminal report for good
    waiting      (--all) `serve` has accepted it, and has not started it yet; WHY: what is missing
    unfinished   (--all) it has not ended; its next run, or its node, goes on
    delivered    (--all) it has ended, and Datahub knows
    """  # noqa: D301 - the \b is click's, and keeps the lines as they are
    with _to_look() as (path, journal), own_stdout() as say:
        known = journal.records.all()
        shown = [one for one in known if everything or one.state in {"undelivered", "refused"}]
        if as_json:
            say(json.dumps([asdict(one) for one in shown], indent=2))
        elif shown:
            say("\n".join(_table(shown)))
        else:
            click.echo("everything is delivered" if known else _nothing_in(path), err=True)
        if not everything:
            for line in _waiting(known):
                click.echo(line, err=True)


@journal_command.command("show")
@click.argument("subtask_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--html",
    "html",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write a page with a picture; print nothing but what --json asks for.",
)
def show_command(subtask_id: str, html: Path | None, *, as_json: bool) -> None:
    """Show what happened to subtask ID, in order.

    Attempts, statuses, transfers, heartbeats, and when Datahub had each report; then the files that
    it has in storage, with size and SHA-256.
    """
    from plugin_framework.cli.timeline import lines, manifest  # noqa: PLC0415 - loaded late
    from plugin_framework.cli.timeline_page import page  # noqa: PLC0415 - loaded late

    with _to_look() as (path, journal), own_stdout() as say:
        (record,) = _named(path, journal, [subtask_id])
        events = journal.timeline.events(subtask_id)
        outputs = [asdict(one) for one in journal.uploads.outputs(subtask_id)]
        if html is not None:
            _write(html, page(record, events))
        if as_json:
            listed = {"events": [asdict(one) for one in events], "outputs": outputs}
            say(json.dumps({**asdict(record), **listed}, indent=2))
        elif html is None:
            say("\n".join([*lines(record, events), *manifest(outputs)]))


@journal_command.command("deliver")
@click.argument("subtask_ids", metavar="[ID]...", nargs=-1)
def deliver_command(subtask_ids: tuple[str, ...]) -> None:
    """Deliver what is kept, of all subtasks or of those given. No plugin is run.

    Takes at most DATAHUB_STARTUP_DEADLINE seconds to reach Datahub, and DATAHUB_DELIVERY_DEADLINE
    seconds from then on. A subtask that is running is left to its run.

    \b
    Exit codes:
      0    all is delivered
      2    usage or configuration; or Datahub does not accept the calls
      69   Datahub unreachable
      75   something is left
    """  # noqa: D301 - the \b is click's, and keeps the lines as they are
    from plugin_framework.engines.delivery import deliver_kept  # noqa: PLC0415 - loaded late

    with _opened(subtask_ids) as (settings, path, journal), own_stdout() as say:
        settings.require_datahub()
        records = _named(path, journal, subtask_ids) if subtask_ids else journal.records.all()
        left = False
        for record in records:
            if subtask_ids and not record.pending:
                say(f"{_text(record.subtask_id)}  {record.state}: nothing to deliver")
                left = left or record.state == "refused"
        for record, delivery in deliver_kept(
            settings, journal, [one for one in records if one.pending]
        ):
            say(f"{_text(record.subtask_id)}  {_in_words(delivery)}")
            left = left or not (delivery.done or delivery.superseded_by)
    sys.exit(LEFT if left else 0)


def _days(_context: click.Context, parameter: click.Parameter, given: float) -> float:
    if not 0 <= given < math.inf:  # NaN is neither
        raise click.BadParameter(f"{given:g}: expected a number of days from 0", param=parameter)
    return given


@journal_command.command("prune")
@click.option(
    "--older-than",
    "days",
    metavar="DAYS",
    type=float,
    callback=_days,
    default=30.0,
    show_default=True,
    help="Only what was delivered or refused so long ago.",
)
@click.option("--all", "everything", is_flag=True, help="However long ago.")
@click.option(
    "--force",
    "forced",
    metavar="ID",
    multiple=True,
    help="Remove this subtask alone, even if it is undelivered: its result is lost.",
)
def prune_command(days: float, forced: tuple[str, ...], *, everything: bool) -> None:
    """Remove subtasks that have ended and whose reports are settled, with their files.

    What is undelivered or unfinished is kept, unless --force names it.
    """
    source = click.get_current_context().get_parameter_source("days")
    if [everything, bool(forced), source is not ParameterSource.DEFAULT].count(True) > 1:
        raise click.UsageError("give one of --all, --older-than and --force")
    with _opened(forced) as (settings, path, journal), own_stdout() as say:
        before = time.time() - (0 if everything else days * DAY)
        records = _named(path, journal, forced) if forced else journal.records.all()
        due = [one for one in records if forced or _is_over(one, before)]
        if not due:
            ended = "has ended with its reports settled"
            click.echo(
                f"nothing to remove: no subtask {ended}"
                + ("" if everything else f" {days:g} days ago or earlier"),
                err=True,
            )
        kept = False
        for record in due:
            problem = _remove(settings, journal, record, before=None if forced else before)
            kept = kept or problem is not None
            say(f"{_text(record.subtask_id)}  {problem or 'removed'}")
    sys.exit(LEFT if kept else 0)


@contextmanager
def _opened(subtask_ids: Sequence[str]) -> Iterator[tuple[Settings, Path, Journal]]:
    """The settings, and the journal they name; where there is none, none is made."""
    from plugin_framework.journal.journal import Journal  # noqa: PLC0415 - loaded late

    settings, path = _where()
    if _is_missing(path):
        if subtask_ids:
            raise _no_journal(path)
        click.echo(_nothing_in(path), err=True)
        raise click.exceptions.Exit(0)
    with closing(Journal(path)) as journal:
        yield settings, path, journal


@contextmanager
def _to_look() -> Iterator[tuple[Path, Journal | View]]:
    """The journal, or as much of it as shows where it may not be written; looking makes none."""
    from plugin_framework.journal.view import View, open_to_look  # noqa: PLC0415 - loaded late

    _, path = _where()
    with closing(View(path) if _is_missing(path) else open_to_look(path)) as journal:
        yield path, journal


def _where() -> tuple[Settings, Path]:
    """The settings, and the path of the journal; logging is set up."""
    from plugin_framework.engines.local import JOURNAL  # noqa: PLC0415 - loaded late
    from plugin_framework.settings import load_settings  # noqa: PLC0415 - loaded late

    settings = load_settings()
    set_up_logging(settings.log_level, settings.log_format, sys.stderr)
    return settings, settings.state_dir / JOURNAL


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # whoever opens it says why
        return False
    return False


def _nothing_in(path: Path) -> str:
    return f"there is no journal at {path}" if _is_missing(path) else f"the journal {path} is empty"


def _no_journal(path: Path) -> Exception:
    from plugin_framework.errors import Code, ConfigurationError  # noqa: PLC0415 - loaded late

    expected = "expected DATAHUB_STATE_DIR to be the folder that the subtask was run with"
    return ConfigurationError(f"{_nothing_in(path)}: {expected}", code=Code.SETTING_WRONG)


def _named(path: Path, journal: Journal | View, subtask_ids: Sequence[str]) -> list[Record]:
    # What is not UTF-8 was never journalled, and cannot be asked for.
    found = {one: journal.records.find(one) if _is_text(one) else None for one in subtask_ids}
    unknown = [_text(one) for one, record in found.items() if record is None]
    if unknown and _is_missing(path):
        raise _no_journal(path)
    if unknown:
        raise click.UsageError(f"the journal {path} knows no subtask {', '.join(unknown)}")
    return [record for record in found.values() if record is not None]


def _is_text(given: str) -> bool:
    try:
        return bool(given.encode())
    except UnicodeEncodeError:
        return False


def _table(records: Sequence[Record]) -> Iterator[str]:
    from plugin_framework.cli.timeline import moment, status_name  # noqa: PLC0415 - loaded late

    rows = [("SUBTASK", "STATUS", "STATE", "PLUGIN", "SINCE (UTC)", "TRIES", "WHY")]
    rows += [
        (
            _text(one.subtask_id),
            status_name(one.status),
            one.state,
            _text(one.plugin),
            moment(one.since or one.created),
            str(one.tries),
            _text(one.why or "-"),
        )
        for one in records
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _waiting(records: Sequence[Record]) -> Iterator[str]:
    """What waits for more than its turn is not listed, for it may be much; nor is it left out."""
    counted = Counter((one.plugin, one.why) for one in records if one.state == "waiting")
    for (plugin, why), count in sorted(counted.items(), key=str):
        if why is not None:
            yield f"{count} of plugin {_text(plugin)} wait: {_text(why)}"


def _in_words(delivery: Delivery) -> str:
    if delivery.done:
        return "delivered"
    if delivery.superseded_by is not None:
        return f"refused: Datahub has ended it as {delivery.superseded_by.name.lower()}"
    return f"not delivered: {_text(delivery.error or 'no answer')}"


def _is_over(record: Record, before: float) -> bool:
    settled = record.state in {"delivered", "refused"}
    return settled and record.since is not None and record.since <= before


def _remove(
    settings: Settings, journal: Journal, record: Record, *, before: float | None
) -> str | None:
    """Remove a subtask, or say why it is kept; looked at again once nobody else can change it."""
    from plugin_framework.errors import TaskLockedError  # noqa: PLC0415 - loaded late
    from plugin_framework.lifecycle import folders  # noqa: PLC0415 - loaded late

    subtask_id = record.subtask_id
    try:
        with folders.subtask_lock(settings.state_dir, subtask_id, to_run=False):
            now = journal.records.find(subtask_id)
            if now is not None and now.state == "waiting":
                return "kept: it waits in the service's queue"
            if before is None or (now is not None and _is_over(now, before)):
                journal.forget(subtask_id)
                folders.forget_subtask(settings.state_dir, subtask_id)
                return None
            return "kept: it has gone on"
    except TaskLockedError as error:
        return f"kept: {_text(str(error))}"


def _write(file: Path, text: str) -> None:
    from plugin_framework.errors import Code, ConfigurationError  # noqa: PLC0415 - loaded late

    try:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigurationError(
            f"the page {file} cannot be written ({error.strerror})", code=Code.FOLDER_UNUSABLE
        ) from None


def _text(text: str) -> str:
    from plugin_framework.cli.timeline import plain  # noqa: PLC0415 - loaded late

    return redacted(plain(text))
