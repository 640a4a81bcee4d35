"""Logging of the command: a live line on a terminal, JSON lines elsewhere; never a secret."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TextIO

import click

from plugin_framework.errors import DatahubError, Problem
from plugin_framework.redaction import redacted

if TYPE_CHECKING:
    from rich.console import Console

# In the framework's own messages the first value is the subtask's id, where they begin so.
_ABOUT_A_SUBTASK = re.compile("[^%]*\\bsubtask %s")
_NOISY = ("apscheduler", "httpcore", "httpx", "matplotlib", "PIL", "stamina", "watchfiles")

log: logging.Logger = logging.getLogger("datahub.cli")


class Redact(logging.Filter):
    """Cuts secrets out of a record, out of its traceback too."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; logging's contract."""
        record.subtask_id = _subtask_of(record)
        record.code = _code_of(record)
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that do not fit must not fail the task
            message = f"{record.msg} {record.args}"
        record.msg, record.args = redacted(message), ()
        if record.exc_info:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_info, record.exc_text = None, redacted(text)
        return True


class ToldOnce(logging.Filter):
    """Leaves out what a live line and a traceback have told already; for one subtask, after Redact.

    The outcome on stdout has the error, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._traceback = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record says something new; logging's contract."""
        if record.name != "datahub.runner":
            # Of a plugin's process, the traceback comes as a part of the message.
            text = f"{record.getMessage()} {record.exc_text or ''}"
            if "Traceback (most recent call last)" in text:
                self._traceback = " ".join(text.split())
            return True
        _, _, told = record.getMessage().partition(": ")
        if record.levelno == logging.INFO:
            return told != "failed"
        return not (told and self._traceback.endswith(told))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where log lines come from: the node, in a cluster, and what is known of subtasks by id."""

    node: str | None = None
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message.

    Where there are any: the node, the subtask with its attempt and trace, the code of the error,
    and the traceback.
    """

    def __init__(self, origin: Origin | None = None) -> None:
        super().__init__()
        self._origin = origin or Origin()

    def format(self, record: logging.LogRecord) -> str:
        """The line; logging's contract."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._origin.node is not None:
            line["node"] = self._origin.node
        if subtask_id := getattr(record, "subtask_id", None):
            line["subtask_id"] = subtask_id
            line.update(self._origin.facts.get(subtask_id, {}))
        if code := getattr(record, "code", None):
            line["code"] = code
        line.update(getattr(record, "facts", {}))
        if record.exc_text:
            line["traceback"] = record.exc_text
        return json.dumps(line, ensure_ascii=False)


def _subtask_of(record: logging.LogRecord) -> str | None:
    """The id of the subtask that a record is about, while it still has its arguments."""
    known: str | None = getattr(record, "subtask_id", None)
    if known is None and isinstance(record.args, tuple) and record.args:
        about = isinstance(record.msg, str) and _ABOUT_A_SUBTASK.match(record.msg)
        return str(record.args[0]) if about else None
    return known


def _code_of(record: logging.LogRecord) -> str | None:
    """The code of the error that a record is about, while it still has its arguments."""
    given = record.args if isinstance(record.args, tuple) else ()
    raised = record.exc_info[1] if record.exc_info else None
    known = (one.code for one in (*given, raised) if isinstance(one, DatahubError | Problem))
    return next(known, getattr(record, "code", None))


def tell(line: str) -> None:
    """Tell the operator, in a log line where logs are structured; of a problem, its code too."""
    if any(isinstance(handler.formatter, JsonLines) for handler in logging.root.handlers):
        log.critical("%s", line)
    else:
        code = f" [{line.code}]" if isinstance(line, Problem) else ""
        click.echo(f"datahub-plugin: {redacted(line)}{code}", err=True)


def set_up_logging(
    level: str,
    style: Literal["auto", "json", "text"],
    stderr: TextIO,
    origin: Origin | None = None,
) -> Console | None:
    """Send logs to stderr; returns the console of the live display, where there is one."""
    console = None
    handler: logging.Handler
    if style == "auto" and stderr.isatty():
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
        from rich.logging import RichHandler  # noqa: PLC0415 - only a terminal needs it

        console = Console(file=stderr)
        handler = RichHandler(console=console, show_path=False, markup=False, highlighter=None)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(stderr)
        where = f"{origin.node} " if origin and origin.node else ""
        handler.setFormatter(
            logging.Formatter(f"%(asctime)s %(levelname)-7s {where}%(name)s: %(message)s")
            if style == "text"
            else JsonLines(origin)
        )
    handler.addFilter(Redact())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    _log_what_python_prints()
    return console


def _log_what_python_prints() -> None:
    logging.captureWarnings(capture=True)
    # It would print to stderr about a stderr that is gone.
    logging.raiseExceptions = False
    sys.excepthook = lambda kind, error, trace: log.critical(
        "an internal error", exc_info=(kind, error, trace)
    )
    threading.excepthook = lambda thread: log.error(
        "a thread ended by an error",
        exc_info=(thread.exc_type, thread.exc_value or thread.exc_type(), thread.exc_traceback),
    )
