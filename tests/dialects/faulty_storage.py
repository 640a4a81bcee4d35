"""What stands between the framework and the local storage, and lets a schedule happen."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Final

from plugin_framework.emulator.dialects import Dialect, ObjectStoreError, Request
from tests.dialects.schedules import EXPIRED, PART, Schedule
from tests.emulator.calling import Answer, send
from tests.transfer.storage_server import Dialogue, Fault, StorageServer
from tests.transfer.storage_server import Request as Received

_ERRORS: Final = {
    "500": ObjectStoreError(500, "InternalError", "We encountered an internal error."),
    "503 SlowDown": ObjectStoreError(503, "SlowDown", "Please reduce your request rate."),
}


@dataclass
class Attempt:
    """One request as it went: ``moved`` bytes of body, received or sent."""

    method: str
    piece: int
    fault: str | None
    moved: int = 0

    @property
    def is_good_put(self) -> bool:
        """Whether it stored something, and the client was told so."""
        return self.method == "PUT" and self.fault is None


@dataclass
class Course:
    """A schedule under way, over one dialect."""

    schedule: Schedule
    dialect: Dialect
    attempts: list[Attempt] = field(default_factory=list)
    tried: Counter[tuple[str, int]] = field(default_factory=Counter)

    def moved(self, method: str) -> int:
        return sum(each.moved for each in self.attempts if each.method == method)

    def failed(self, method: str) -> list[Attempt]:
        return [each for each in self.attempts if each.method == method and each.fault]


class FaultyStorage(StorageServer):
    """Passes requests on to the storage at ``upstream``, but for what ``course`` has for them."""

    def __init__(self) -> None:
        super().__init__()
        self.upstream = ""
        self.course: Course

    def _fault(self, request: Received) -> Fault:
        course, method, piece = self.course, request.method, piece_of(request)
        course.tried[method, piece] += 1
        count = course.tried[method, piece]
        attempt = Attempt(method, piece, course.schedule.fault(method, piece, count))
        course.attempts.append(attempt)
        delay = course.schedule.delay(method, piece, count)
        return lambda dialogue: self._happen(dialogue, attempt, course, delay)

    def _happen(self, dialogue: Dialogue, attempt: Attempt, course: Course, delay: float) -> None:
        Event().wait(delay)
        if attempt.method == "PUT":
            self._put(dialogue, attempt, course)
        else:
            self._get(dialogue, attempt, course)

    def _put(self, dialogue: Dialogue, attempt: Attempt, course: Course) -> None:
        length = int(dialogue.request.header("content-length") or 0)
        if attempt.fault == "reset in the body":
            dialogue.skip(length // 2)
            attempt.moved = length // 2
            dialogue.reset()
            return
        body = dialogue.read_body()
        attempt.moved = length
        if attempt.fault in _ERRORS:
            refuse(dialogue, course.dialect, _ERRORS[attempt.fault])
        elif attempt.fault == "error document in a 200":
            refuse(dialogue, course.dialect, _ERRORS["500"], status=200)
        else:
            answer = self._pass_on(dialogue.request, body, attempt, course)
            answer_put(dialogue, answer, attempt.fault)

    def _get(self, dialogue: Dialogue, attempt: Attempt, course: Course) -> None:
        if attempt.fault == "reset":
            dialogue.reset()
        elif attempt.fault in _ERRORS:
            refuse(dialogue, course.dialect, _ERRORS[attempt.fault])
        else:
            answer = self._pass_on(dialogue.request, None, attempt, course)
            attempt.moved = len(answer.body) if answer.status in (200, 206) else 0
            answer_get(dialogue, answer, attempt)

    def _pass_on(
        self, request: Received, body: bytes | None, attempt: Attempt, course: Course
    ) -> Answer:
        left_out = {"content-length"} | ({"range"} if attempt.fault == "range ignored" else set())
        headers = [pair for pair in request.headers if pair[0].lower() not in left_out]
        target = request.target
        if attempt.fault == EXPIRED:
            target = lapsed(request, course.dialect)
        return send(request.method, f"{self.upstream}{target}", body, headers)


def piece_of(request: Received) -> int:
    """The part or the range that a request is about, from 0; -1 for an object in one."""
    part = re.search("partNumber=([0-9]+)", request.target)
    if part is not None:
        return int(part[1]) - 1
    start = re.match("bytes=([0-9]+)-", request.header("range") or "")
    if start is not None:
        return int(start[1]) // PART
    return 0 if request.method == "PUT" else -1


def lapsed(request: Received, dialect: Dialect) -> str:
    """The same target, signed so long ago that the store itself will refuse it."""
    key = request.key.rpartition("/")[2]
    found = re.findall("(partNumber|uploadId)=([^&]*)", request.target)
    url = dialect.sign(request.method, key, dict(found), 60, time.time() - 100)
    return url.removeprefix(dialect.bucket.url.removesuffix("/storage/datahub"))


def refuse(
    dialogue: Dialogue, dialect: Dialect, error: ObjectStoreError, status: int | None = None
) -> None:
    """Answer as a store of the dialect that has trouble."""
    request = Request(dialogue.request.method, dialogue.request.key, "", ())
    body = dialect.document(error, request, "0" * 24)
    dialogue.reply(status or error.status, {"Content-Type": "application/xml"}, body)


def answer_put(dialogue: Dialogue, answer: Answer, fault: str | None) -> None:
    headers = headers_of(answer)
    if fault == "reset after it was applied":
        dialogue.reset()
    elif fault == "answer cut short":
        dialogue.send(b"HTTP/1.1 200 OK\r\nETag: ")
        dialogue.close()
    else:
        if fault == "no ETag":
            del headers["etag"]
        dialogue.reply(answer.status, headers, answer.body)


def answer_get(dialogue: Dialogue, answer: Answer, attempt: Attempt) -> None:
    headers, body = headers_of(answer), answer.body
    if attempt.fault in ("another ETag", "no ETag"):
        headers.pop("etag", None)
    if attempt.fault == "another ETag":
        headers["etag"] = '"00000000000000000000000000000000"'
    if attempt.fault != "truncated body":
        dialogue.reply(answer.status, headers, body)
        return
    attempt.moved = len(body) // 2
    dialogue.head(answer.status, {"Content-Length": len(body), **headers})
    dialogue.send(body[: attempt.moved])
    dialogue.close()


def headers_of(answer: Answer) -> dict[str, str | int]:
    """The headers but those that belong to the connection."""
    own = {"content-length", "connection", "date"}
    found: Mapping[str, str] = answer.headers
    return {name: value for name, value in found.items() if name not in own}
