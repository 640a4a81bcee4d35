"""What is around a message of ours. Celery acts on more than we send, and much of it ends it."""

from __future__ import annotations

import logging
from typing import Any

from plugin_framework.engines.celery.app import TASK

log: logging.Logger = logging.getLogger("datahub.worker")


def strip(message: Any) -> None:
    """Leave only what is ours of a message, one of kombu's.

    Raises:
        ValueError: it is not ours; with one line on what.
    """
    headers = message.headers
    if headers.get("task") != TASK or not isinstance(headers.get("id"), str):
        raise ValueError("its headers are others")
    match _content(message):
        case [[], dict(), dict(embedded)] if not any(embedded.values()):
            message.headers = {"task": TASK, "id": headers["id"]}
        case _:
            raise ValueError("its body is of another form")


def drop(message: Any, why: object) -> None:
    """Have the broker forget it: it would end whoever takes it next, or come back for ever."""
    log.error("a message that is not ours is dropped: %s", why)
    message.reject()


def _content(message: Any) -> Any:
    try:
        return message.payload
    except Exception as error:  # noqa: BLE001 - whatever decoding meets in a stranger's
        # What it says of a body may have the config in it.
        raise ValueError(f"its body cannot be read ({type(error).__name__})") from None
