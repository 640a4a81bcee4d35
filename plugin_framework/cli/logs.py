"""Logging of the command: a live line on a terminal, JSON lines elsewhere; never a secret."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

# Everything after the path: a presigned query is a credential.
_QUERY = re.compile(r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>]*")
_NOISY = ("apscheduler", "httpcore", "httpx", "matplotlib", "PIL", "stamina")


class Redact(logging.Filter):
    """Cuts the query off every URL in a record, in its traceback too."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; logging's contract."""
        record.msg, record.args = redacted(record.getMessage()), ()
        if record.exc_info:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_info, record.exc_text = None, redacted(text)
        return True


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and a traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; logging's contract."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_text:
            line["traceback"] = record.exc_text
        return json.dumps(line, ensure_ascii=False)


def redacted(text: str) -> str:
    """The text with the query of every URL left out."""
    return _QUERY.sub(r"\1?...", text)


def set_up_logging(level: str, style: Literal["auto", "json", "text"]) -> Console | None:
    """Send logs to stderr; returns the console of the live display, where there is one."""
    console = None
    handler: logging.Handler
    if style == "auto" and sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
        from rich.logging import RichHandler  # noqa: PLC0415 - only a terminal needs it

        console = Console(stderr=True)
        handler = RichHandler(console=console, show_path=False, markup=False, highlighter=None)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
            if style == "text"
            else JsonLines()
        )
    handler.addFilter(Redact())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    return console
