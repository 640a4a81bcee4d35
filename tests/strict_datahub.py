"""An independent, unforgiving Datahub for tests.

Written from the protocol document alone and sharing no code with the framework, so that it can't
share its mistakes. It answers like Datahub and writes down every departure from the protocol in
`violations`; a test ends with `assert hub.violations == []`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections import defaultdict, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self
from uuid import uuid4

from tests.strict_rules import (
    COMPLETE,
    COMPLETED,
    HEARTBEAT,
    INIT,
    INITIAL,
    LEGAL,
    NOTIFY,
    PAUSED,
    PRESIGN,
    RESULT,
    RUNNING,
    STALE_SECONDS,
    STATUS,
    TERMINAL,
    BadContent,
    Credentials,
    auth_faults,
    content_faults,
    parse_content,
    schemas,
)
from tests.strict_storage import StrictStorage, Upload
from tests.strict_wire import Exchange, Gone, Listener, Request, framing_faults, head_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SMALLEST_CHUNK: Final = 5 * 1024 * 1024
MOST_PARTS: Final = 10_000
IN_MEMORY: Final = 8 * 1024 * 1024
HEADERS: Final = frozenset(
    {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "connection",
        "content-type",
        "content-length",
        "authorization",
        "d-api-key",
        "d-timestamp",
        "d-signature",
    }
)
How = Literal[
    "503",
    "500",
    "code1",
    "code500",
    "reset_before",
    "reset_after",
    "hang",
    "html",
    "proxy",
    "outage",
]
HOWS: Final = frozenset(How.__args__)  # type: ignore[attr-defined]  # typeshed hides it
PAGES: Final = {"html": 200, "proxy": 403}
ENVELOPE_FAULTS: Final = {
    "503": (503, 500),
    "500": (500, 500),
    "code1": (200, 1),
    "code500": (200, 500),
}


class Call(NamedTuple):
    """One API request that was read whole; `time` is monotonic, `content` the body or the query."""

    time: float
    method: str
    path: str
    content: dict[str, Any]


class Refused(Exception):  # noqa: N818 - a business error of Datahub's
    """Answered with code 1."""


class StrictDatahub:
    """Datahub for one subtask, and its object storage on another port; a context manager.

    `statuses` and `heartbeats` hold what was applied (status 3 when the result was). `repeats`
    counts reports of what had been applied before: the status as it is, or a terminal report or a
    complete that was not acknowledged, byte for byte the same. `outputs` maps file names to
    completed uploads: bytes, or above 8 MiB a path that lives as long as the context. Times are
    monotonic seconds. Spoilt calls are answered with a `Retry-After` of `retry_after` seconds.
    """

    def __init__(
        self,
        subtask_id: str = "task_abc_001_ingest",
        *,
        task_id: str | None = None,
        input_file: Path | None = None,
        input_name: str = "input.bin",
        key: str | None = None,
        secret: str | None = None,
        token: str | None = None,
        part_urls: Literal["objects", "strings"] = "objects",
        fields: Literal["sample", "joined"] = "sample",
        chunk_echo: bool = True,
    ) -> None:
        self.violations: list[str] = []
        self.calls: list[Call] = []
        self.statuses: list[int] = []
        self.heartbeats: list[tuple[float, int]] = []
        self.result: dict[str, Any] | None = None
        self.outputs: dict[str, bytes | Path] = {}
        self.repeats = 0
        self.retry_after: int | None = None
        self._subtask_id = subtask_id
        self._task_id = task_id or subtask_id
        self._input_file = input_file
        self._input_name = input_name
        self._credentials = Credentials(key, secret, token)
        self._part_urls = part_urls
        self._fields = fields
        self._chunk_echo = chunk_echo
        self._schemas = schemas(fields)
        self._changed = threading.Condition()
        self._faults: dict[str, deque[str]] = defaultdict(deque)
        self._uploads: dict[str, Upload] = {}
        self._reported = INITIAL
        self._asked: int | None = None
        self._started = False
        self._terminal: tuple[str, bytes] | None = None
        self._terminal_applied = False
        self._terminal_acknowledged = False
        self._process = 0
        self._listener = Listener(self._serve, self._complain)

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="strict-datahub-"))
        self.storage = StrictStorage(
            self._folder,
            self._changed,
            self._complain,
            self._credentials,
            working=self._working,
            next_fault=self._next_fault,
        )
        self._listener.open()
        self.storage.listener.open()
        if self._input_file is not None:
            self.storage.hold(self._input_file)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.storage.listener.close()
        shutil.rmtree(self._folder)

    @property
    def url(self) -> str:
        return f"http://{self._listener.host}"

    def set_status(self, status: int) -> None:
        """Let notify answer this (pause 2, resume 1, cancel 4) until it is reported, or the end."""
        with self._changed:
            self._asked = status
            self._changed.notify_all()

    def change_input(self, path: Path) -> None:
        """Serve another file, under a new ETag: ranges with the old one get a 412."""
        self._input_file = path
        self.storage.hold(path)

    def fail_next(self, path: str, times: int, how: How) -> None:
        """Spoil the next calls of an API path, or of the storage where `path` is "PUT" or "GET".

        Nothing is applied, but with "reset_after". "outage" breaks the connection before anything
        but the request head is read, so the call counts as not received; "hang" answers nothing
        until the client closes; "proxy" answers as one would that lets nothing through. At storage
        "reset_before" comes in mid-body, and there is no "code1", "code500" or "proxy". Raises
        ValueError.
        """
        if how not in HOWS or (how in {"code1", "code500", "proxy"} and path in {"PUT", "GET"}):
            raise ValueError(f"no such fault for {path}: {how}")
        with self._changed:
            self._faults[path].extend([how] * times)

    def stop_listening(self) -> None:
        """Begin an outage of the API: connections are broken, new ones refused. Storage goes on."""
        self._listener.close()

    def start_listening(self) -> None:
        """End the outage, on the same port."""
        self._listener.open()

    def wait_for(self, predicate: Callable[[], object], timeout: float = 30) -> Literal[True]:
        """Wait until `predicate()` holds; it is asked at every change. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(predicate()), timeout):
                raise TimeoutError(
                    f"not within {timeout} s; statuses {self.statuses}, "
                    f"violations {self.violations}, "
                    f"last calls {[call.path for call in self.calls[-5:]]}"
                )
        return True

    def _complain(self, text: str) -> None:
        with self._changed:
            self.violations.append(text)
            self._changed.notify_all()

    def _next_fault(self, path: str) -> str | None:
        with self._changed:
            return self._faults[path].popleft() if self._faults[path] else None

    def _working(self) -> bool:
        """Whether transfers are in order: status 1 or 2, and no terminal report received."""
        return self._started and self._terminal is None

    def _serve(self, exchange: Exchange) -> None:
        request = exchange.request
        how = self._next_fault(request.path)
        if how == "outage":
            exchange.reset()
        body = self._read(exchange)
        with self._changed:
            try:
                status, envelope = self._judge(request, body, how)
            finally:
                self._changed.notify_all()
        if how in {"reset_before", "reset_after"}:
            exchange.reset()
        if how == "hang":
            exchange.hang()
        if how in PAGES:
            exchange.answer(PAGES[how], {"Content-Type": "text/html"}, b"<html>No</html>")
            return
        headers = {"Content-Type": "application/json"}
        if how is not None and self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        exchange.answer(status, headers, json.dumps(envelope).encode())

    def _read(self, exchange: Exchange) -> bytes:
        framing = list(framing_faults(exchange.request))
        for fault in framing:
            self._complain(f"API: {fault}")
        if framing:
            exchange.refuse(411 if "without" in framing[0] else 501)
        try:
            return b"".join(exchange.chunks())
        except Gone:
            if self._listener.is_open:  # else it was broken off here
                self._complain("API: the body is shorter than its Content-Length")
            raise

    def _judge(self, request: Request, body: bytes, how: str | None) -> tuple[int, dict[str, Any]]:
        """Return HTTP status and envelope, having applied the call unless `how` forbids it."""
        schema = self._schemas.get((request.method, request.path))
        if schema is None:
            self._complain(f"{request.method} {request.path} is no call of the protocol")
            return 404, _failure(400, "no such call")
        for fault in head_faults(request, self._listener.host, HEADERS):
            self._complain(f"{request.path}: {fault}")
        faults = list(auth_faults(request, body, self._credentials, time.time()))
        code, content = 401, {}
        if not faults:
            code = 400
            try:
                content = parse_content(request, body)
                faults = [*content_faults(content, schema), *self._identity_faults(content)]
            except BadContent as error:
                faults = [str(error)]
        self.calls.append(Call(time.monotonic(), request.method, request.path, content))
        for fault in faults:
            self._complain(f"{request.path}: {fault}")
        if faults:
            return code, _failure(code, faults[0])
        return self._act(request.path, content, body, how)

    def _identity_faults(self, content: Mapping[str, Any]) -> list[str]:
        expected = {"subtask_id": self._subtask_id, "task_id": self._task_id}
        return [
            f"{name} is another task's"
            for name, value in expected.items()
            if isinstance(content.get(name), str) and content[name] not in {value, ""}
        ]

    def _act(
        self, path: str, content: dict[str, Any], body: bytes, how: str | None
    ) -> tuple[int, dict[str, Any]]:
        checks = {
            STATUS: self._check_status,
            RESULT: self._check_result,
            HEARTBEAT: self._check_heartbeat,
            INIT: self._check_init,
            COMPLETE: self._check_complete,
            PRESIGN: self._check_presign,
        }
        actions: dict[str, Callable[[dict[str, Any], bytes], Any]] = {
            STATUS: lambda content, body: self._apply_status(content["status"]),
            RESULT: self._apply_result,
            HEARTBEAT: self._apply_heartbeat,
            INIT: self._apply_init,
            COMPLETE: self._apply_complete,
            PRESIGN: self._apply_presign,
            NOTIFY: self._apply_notify,
        }
        try:
            if path in checks:
                checks[path](content, body)
            if how in ENVELOPE_FAULTS:
                status, code = ENVELOPE_FAULTS[how]
                return status, _failure(code, "injected")
            if how not in {None, "reset_after"}:
                return 500, {}
            data = actions[path](content, body)
        except Refused as error:
            return 200, _failure(1, str(error))
        if how is None:
            self._acknowledge(path, content)
        return 200, {"code": 0, "msg": "success", "data": data}

    def _refuse(self, text: str) -> None:
        self._complain(text)
        raise Refused(text)

    def _acknowledge(self, path: str, content: Mapping[str, Any]) -> None:
        """Note what the client is told; just before, so that its next call finds it noted."""
        if path in {STATUS, NOTIFY} and self._reported != INITIAL:
            self._started = True
        if path in {STATUS, RESULT} and self._terminal_applied:
            self._terminal_acknowledged = True
        if path == COMPLETE:
            self._uploads[content["upload_id"]].acknowledged = True

    def _check_status(self, content: Mapping[str, Any], body: bytes) -> None:
        status = content["status"]
        if status == COMPLETED:
            self._refuse("status 3 by update_status")
        if status not in {RUNNING, PAUSED, *TERMINAL}:
            self._refuse(f"update_status to {status}")
        self._check_report(STATUS, status, body)

    def _check_result(self, content: Mapping[str, Any], body: bytes) -> None:
        self._check_report(RESULT, COMPLETED, body)

    def _check_report(self, path: str, status: int, body: bytes) -> None:
        """Judge the order of reports; a terminal one counts as received, whatever is answered."""
        if self._terminal_acknowledged:
            self._refuse(f"report of status {status} after an acknowledged terminal one")
        if self._terminal is not None:
            if self._terminal != (path, body):
                self._refuse(f"report of status {status} after another terminal one")
            return
        if (self._reported, status) not in LEGAL:
            self._refuse(f"illegal transition from {self._reported} to {status}")
        if status in TERMINAL:
            self._terminal = (path, body)

    def _apply_status(self, status: int, _: bytes = b"") -> None:
        if status == self._reported:
            self.repeats += 1
        else:
            self.statuses.append(status)
        self._reported = status
        self._terminal_applied = status in TERMINAL
        if status == self._asked or status in TERMINAL:
            self._asked = None

    def _apply_result(self, content: Mapping[str, Any], _: bytes) -> None:
        self.result = content["result"]
        self._apply_status(COMPLETED)

    def _check_heartbeat(self, content: Mapping[str, Any], _: bytes) -> None:
        if self._terminal is not None:
            self._refuse("heartbeat after a terminal report was received")
        if not self._started:
            self._refuse("heartbeat before status 1 was acknowledged")
        if abs(content["timestamp"] - time.time()) > STALE_SECONDS:
            self._complain("heartbeat: timestamp is off by more than 300 s")
        if content["process"] < self._process:
            self._complain(f"heartbeat: process fell from {self._process} to {content['process']}")
        self._process = max(self._process, content["process"])

    def _apply_heartbeat(self, content: Mapping[str, Any], _: bytes) -> None:
        self.heartbeats.append((time.monotonic(), content["process"]))

    def _check_init(self, content: Mapping[str, Any], _: bytes) -> None:
        if not self._working():
            self._refuse("upload/init outside status 1 and 2")
        upload = self._upload(content)
        if upload.chunk is not None and upload.chunk < SMALLEST_CHUNK:
            self._refuse(f"chunk_size {upload.chunk} is below {SMALLEST_CHUNK}")
        if upload.count > MOST_PARTS:
            self._refuse(f"{upload.count} parts are more than {MOST_PARTS}")

    def _upload(self, content: Mapping[str, Any]) -> Upload:
        joined = self._fields == "joined"
        name, size = ("filename", "filesize") if joined else ("file_name", "file_size")
        return Upload(
            f"upload_{uuid4().hex}", content[name], content[size], content.get("chunk_size")
        )

    def _apply_init(self, content: Mapping[str, Any], _: bytes) -> dict[str, Any]:
        upload = self._upload(content)
        self._uploads[upload.upload_id] = upload
        urls = [self.storage.issue_put(upload, index + 1) for index in range(upload.count)]
        objects = [{"index": index, "url": url} for index, url in enumerate(urls, 1)]
        data = {
            "upload_id": upload.upload_id,
            # Objects may come in any order (part 3), so they come in an odd one.
            "part_upload_urls": urls if self._part_urls == "strings" else objects[::-1],
        }
        return data | ({"chunk_size": upload.chunk} if self._chunk_echo else {})

    def _check_complete(self, content: Mapping[str, Any], body: bytes) -> None:
        upload = self._uploads.get(content["upload_id"])
        if not self._working():
            self._refuse("upload/complete outside status 1 and 2")
        if upload is None:
            self._refuse("upload/complete of an upload that is not known")
        elif upload.completed_by is not None:
            if upload.acknowledged or upload.completed_by != body:
                self._refuse("upload/complete of a completed upload")
        else:
            self._check_parts(upload, content["parts"])

    def _check_parts(self, upload: Upload, parts: list[dict[str, Any]]) -> None:
        if [part["index"] for part in parts] != list(range(1, upload.count + 1)):
            self._refuse(f"upload/complete: parts are not 1 to {upload.count}, each once, in order")
        for part in parts:
            stored = upload.parts.get(part["index"])
            if stored is None:
                self._refuse(f"upload/complete: part {part['index']} was not stored")
            elif stored.etag != part["etag"]:
                self._refuse(f"upload/complete: the ETag of part {part['index']} is not verbatim")
        total = sum(part.size for part in upload.parts.values())
        if total != upload.size:
            self._refuse(f"upload/complete: the parts add up to {total} bytes, not {upload.size}")

    def _apply_complete(self, content: Mapping[str, Any], body: bytes) -> dict[str, Any]:
        upload = self._uploads[content["upload_id"]]
        if upload.completed_by is None:
            upload.completed_by = body
            self._assemble(upload)
        else:
            self.repeats += 1
        return {"file_url": f"https://storage.invalid/{upload.upload_id}"}

    def _assemble(self, upload: Upload) -> None:
        target = self._folder / upload.upload_id
        with target.open("wb") as whole:
            for _, part in sorted(upload.parts.items()):
                with part.path.open("rb") as file:
                    shutil.copyfileobj(file, whole, 1 << 20)
                part.path.unlink()
        small = upload.size <= IN_MEMORY
        self.outputs[upload.file_name] = target.read_bytes() if small else target

    def _check_presign(self, content: Mapping[str, Any], _: bytes) -> None:
        if not self._working():
            self._refuse("download/presign outside status 1 and 2")

    def _apply_presign(self, content: Mapping[str, Any], _: bytes) -> dict[str, Any]:
        if self._input_file is None:
            raise Refused("no input")
        return {"download_url": self.storage.issue_get(), "file_name": self._input_name}

    def _apply_notify(self, content: Mapping[str, Any], _: bytes) -> dict[str, Any]:
        return {"status": self._reported if self._asked is None else self._asked}


def _failure(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "msg": message, "data": None}
