"""The client of the Datahub API: signed calls, each with a deadline, retried (PROTOCOL.md)."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ValidationError

from plugin_framework.errors import InvalidResultError
from plugin_framework.protocol.answer import invalid_data
from plugin_framework.protocol.backoff import AskFirst, with_patience
from plugin_framework.protocol.caller import Caller, Guard, Request
from plugin_framework.protocol.credentials import NO_CREDENTIALS, Credentials
from plugin_framework.protocol.models import (
    DownloadTicket,
    Heartbeat,
    Notification,
    TaskStatus,
    UploadCompletion,
    UploadRequest,
    UploadTicket,
)

PATIENCE = 60.0
"""Seconds during which a call is retried, unless the caller says otherwise."""

Model = TypeVar("Model", bound=BaseModel)


class DatahubClient:
    """Datahub's API over one pool of kept connections; for use by many threads.

    Calls are retried for ``patience`` seconds (0: one attempt). An attempt takes no longer than
    ``request_deadline`` seconds, or ``deadline`` where that is less. ``clock`` gives Unix
    seconds for timestamps; all waiting goes by the monotonic clock.

    Every call raises:
        RetryableError: it did not succeed within its patience.
        FinalError: it would not succeed if it were repeated.
    """

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Credentials = NO_CREDENTIALS,
        connect_timeout: float = 5.0,
        request_deadline: float = 60.0,
        ca_bundle: Path | None = None,
        proxy: str | None = None,
        upload_fields: Literal["sample", "joined"] = "sample",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._upload_fields = upload_fields
        self._caller = Caller(
            base_url,
            credentials=credentials,
            connect_timeout=connect_timeout,
            request_deadline=request_deadline,
            ca_bundle=ca_bundle,
            proxy=proxy,
            clock=clock,
        )

    def guarded(self, guard: Guard) -> Self:
        """This client, over the same connections, for one who may not call at any time.

        What is given up does not arrive later: its connection is broken, not closed.
        """
        guarded = copy.copy(self)
        guarded._caller = self._caller.guarded(guard)  # noqa: SLF001 - our own class
        return guarded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._caller.close()

    def update_status(
        self,
        subtask_id: str,
        status: TaskStatus,
        *,
        patience: float = PATIENCE,
        deadline: float | None = None,
        applied: Callable[[], bool] | None = None,
    ) -> None:
        """Report a change of status (1.5); ``applied`` as in ``post``."""
        path, body = status_report(subtask_id, status)
        self.post(path, body, patience=patience, deadline=deadline, applied=applied)

    def heartbeat(
        self,
        subtask_id: str,
        percent: int,
        *,
        patience: float = 0.0,
        deadline: float | None = None,
    ) -> None:
        """Report progress, 0 to 100 percent, and that the task is alive (1.6)."""
        beat = Heartbeat(subtask_id=subtask_id, timestamp=self._caller.now(), process=percent)
        body = _json(beat.model_dump())
        self.post("/api/task/heartbeat", body, patience=patience, deadline=deadline)

    def result(
        self,
        subtask_id: str,
        result: Mapping[str, Any],
        *,
        patience: float = PATIENCE,
        deadline: float | None = None,
        applied: Callable[[], bool] | None = None,
    ) -> None:
        """Report the final result, which sets status 3 (1.7); ``applied`` as in ``post``.

        Raises:
            InvalidResultError: the result is not JSON.
        """
        path, body = result_report(subtask_id, result)
        self.post(path, body, patience=patience, deadline=deadline, applied=applied)

    def notify(
        self, task_id: str, *, patience: float = PATIENCE, deadline: float | None = None
    ) -> TaskStatus:
        """Ask for a task's current status (1.8)."""
        request = Request("GET", "/api/task/notify", {"task_id": task_id})
        return self._read(Notification, request, patience, deadline).status

    def upload_init(
        self, request: UploadRequest, *, patience: float = PATIENCE, deadline: float | None = None
    ) -> UploadTicket:
        """Start an upload (1.1). Repeated after an unknown outcome: that costs an unused one."""
        body = _json(request.body(self._upload_fields))
        sent = Request("POST", "/api/task/upload/init", body=body)
        return self._read(UploadTicket, sent, patience, deadline)

    def upload_complete(
        self,
        completion: UploadCompletion,
        *,
        patience: float = PATIENCE,
        deadline: float | None = None,
        applied: Callable[[], bool] | None = None,
    ) -> None:
        """Put the stored parts together (1.3); ``applied`` as in ``post``."""
        body = _json(completion.model_dump())
        path = "/api/task/upload/complete"
        self.post(path, body, patience=patience, deadline=deadline, applied=applied)

    def download_presign(
        self, subtask_id: str, *, patience: float = PATIENCE, deadline: float | None = None
    ) -> DownloadTicket:
        """Ask where the subtask's input can be fetched (1.4)."""
        request = Request("GET", "/api/task/download/presign", {"subtask_id": subtask_id})
        return self._read(DownloadTicket, request, patience, deadline)

    def post(
        self,
        path: str,
        body: bytes,
        *,
        patience: float = PATIENCE,
        deadline: float | None = None,
        applied: Callable[[], bool] | None = None,
    ) -> Any:
        """Send exactly these bytes, and return the envelope's data.

        ``applied`` is asked before an attempt that follows one of unknown outcome: True ends
        the call as a success, with no data. It may raise RetryableError, and be asked again.
        """

        def send() -> Any:
            return self._caller.attempt(Request("POST", path, body=body), deadline)

        return with_patience(AskFirst(send, applied) if applied else send, patience)

    def _read(
        self, model: type[Model], request: Request, patience: float, deadline: float | None
    ) -> Model:
        def attempt() -> Model:
            data = self._caller.attempt(request, deadline)
            try:
                return model.model_validate(data)
            except ValidationError as error:
                call = self._caller.name_of(request)
                raise invalid_data(call, error, changes=request.changes) from None

        return with_patience(attempt, patience)


def status_report(subtask_id: str, status: TaskStatus) -> tuple[str, bytes]:
    """Path and body of an update_status call (1.5)."""
    return "/api/task/update_status", _json({"subtask_id": subtask_id, "status": int(status)})


def result_report(subtask_id: str, result: Mapping[str, Any]) -> tuple[str, bytes]:
    """Path and body of a result call (1.7).

    Raises:
        InvalidResultError: the result is not JSON; NaN and infinity are not.
    """
    try:
        return "/api/task/result", _json({"subtask_id": subtask_id, "result": dict(result)})
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidResultError(f"the result is not JSON: {error}") from error


def _json(message: Mapping[str, Any]) -> bytes:
    text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()
