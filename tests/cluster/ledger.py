"""What Datahub was told, by whom, and in which order: the judge of all that a cluster does.

Each node reaches Datahub by a door of its own, so that what it sends is told apart from what
others send; behind all of them is the same local Datahub.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

DEADLINE = 120.0
STATUS, RESULT = "/api/task/update_status", "/api/task/result"
RUNNING, COMPLETED = 1, 3
FINAL = frozenset({3, 4, 5})
_FAILED, _AWAY = 502, 503


@dataclass
class Call:
    """A request of a node; ``at`` is monotonic, ``code`` the envelope's, None while it waits."""

    at: float
    source: str
    path: str
    body: bytes
    code: int | None = None
    content: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.content = json.loads(self.body) if self.body else {}

    @property
    def subtask(self) -> str:
        """Whom it is about; empty where its body does not say."""
        return str(self.content.get("subtask_id", ""))

    @property
    def status(self) -> int | None:
        """The status that it reports."""
        if self.path == RESULT:
            return COMPLETED
        return self.content.get("status") if self.path == STATUS else None

    @property
    def is_ending(self) -> bool:
        return self.status in FINAL

    @property
    def is_accepted(self) -> bool:
        return self.code == 0

    def __str__(self) -> str:
        shown = self.body.decode(errors="replace")[:200]
        return f"{self.at:.3f} {self.source} {self.path} {shown} -> {self.code}"


class Ledger:
    """The doors, and what came through them. A context manager."""

    def __init__(self, datahub: str) -> None:
        self._datahub = urlsplit(datahub)
        self._calls: list[Call] = []
        self._of: dict[str, list[Call]] = defaultdict(list)
        self._over: dict[str, Call] = {}
        self._changed = threading.Condition()
        self._doors: list[ThreadingHTTPServer] = []
        self.away = False
        """Whether Datahub is away: what comes is answered 503, and not passed on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for door in self._doors:
            door.shutdown()
            door.server_close()

    def door(self, source: str, address: str = "127.0.0.1") -> str:
        """The URL of a new door, for ``source`` alone."""
        server = _Server((address, 0), _handler_of(self, source))
        self._doors.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://{address}:{server.server_address[1]}"

    # What came

    def calls(self, subtask_id: str) -> list[Call]:
        """What was sent for a subtask, in the order in which it came."""
        with self._changed:
            return list(self._of[subtask_id])

    def statuses(self, subtask_id: str) -> list[int]:
        """What it was reported as, without repeats of the same."""
        found: list[int] = []
        for call in self.calls(subtask_id):
            if call.status is not None and call.is_accepted and found[-1:] != [call.status]:
                found.append(call.status)
        return found

    def starts(self, subtask_id: str) -> list[Call]:
        """The reports that an attempt, or its work after a pause, has begun."""
        return [one for one in self.calls(subtask_id) if one.status == RUNNING and one.is_accepted]

    def ending(self, subtask_id: str) -> Call | None:
        """The ending that Datahub has taken."""
        with self._changed:
            return self._over.get(subtask_id)

    def ended(self, subtasks: Iterable[str]) -> list[str]:
        """Those that have an ending."""
        with self._changed:
            return [subtask for subtask in subtasks if subtask in self._over]

    def running(self, source: str, subtasks: Iterable[str]) -> list[str]:
        """Those that the source has begun, and nobody has ended."""
        found = []
        for subtask in subtasks:
            starts = self.starts(subtask)
            if starts and starts[-1].source == source and self.ending(subtask) is None:
                found.append(subtask)
        return found

    # Waiting

    def wait_for(self, condition: Callable[[], object], seconds: float = DEADLINE) -> None:
        """Wait until a condition on what came holds."""
        with self._changed:
            if not self._changed.wait_for(condition, seconds):
                last = "\n".join(map(str, self._calls[-30:]))
                raise AssertionError(f"not within {seconds:g} s; the last calls:\n{last}")

    def wait_for_end(self, subtasks: Collection[str], seconds: float = DEADLINE) -> None:
        """Wait until each has its ending."""
        self.wait_for(lambda: len(self.ended(subtasks)) == len(subtasks), seconds)

    def wait_for_status(self, subtask_id: str, status: int, seconds: float = DEADLINE) -> None:
        """Wait until this is what a subtask was last reported as."""
        self.wait_for(lambda: self.statuses(subtask_id)[-1:] == [status], seconds)

    # Judging

    def wrongs(self, subtasks: Iterable[str]) -> list[str]:
        """All that is not as it must be: the promises of a cluster, subtask by subtask."""
        return [wrong for subtask in subtasks for wrong in wrongs_of(subtask, self.calls(subtask))]

    def repeats(self, subtasks: Iterable[str]) -> int:
        """Endings beyond the first; they are byte for byte the same where nothing is wrong."""
        counts = (sum(c.is_ending for c in self.calls(subtask)) for subtask in subtasks)
        return sum(max(0, count - 1) for count in counts)

    # For the doors

    def take(self, call: Call) -> None:
        """A request has come."""
        with self._changed:
            self._calls.append(call)
            self._of[call.subtask].append(call)

    def pass_on(self, method: str, call: Call, target: str, headers: Mapping[str, str]) -> Any:
        """Have Datahub answer it: status, kind and body."""
        if self.away:
            return _AWAY, "text/plain", b""
        connection = http.client.HTTPConnection(
            str(self._datahub.hostname), self._datahub.port, timeout=DEADLINE
        )
        try:
            connection.request(method, target, call.body or None, dict(headers))
            answer = connection.getresponse()
            said = answer.read()
            code = json.loads(said)["code"]
            found = answer.status, answer.headers["Content-Type"], said
        except (OSError, ValueError, http.client.HTTPException):
            code, found = _FAILED, (_FAILED, "text/plain", b"")
        finally:
            connection.close()
        with self._changed:
            call.code = code
            if call.is_ending and call.is_accepted:
                self._over.setdefault(call.subtask, call)
            self._changed.notify_all()
        return found


def wrongs_of(subtask: str, calls: list[Call]) -> list[str]:
    """What is wrong with what was told of one subtask."""
    endings = [call for call in calls if call.is_ending]
    accepted = [call for call in endings if call.is_accepted]
    if not accepted:
        return [f"{subtask} has no ending: {[str(call) for call in calls[-5:]]}"]
    stands = accepted[0]
    wrong = [
        f"{subtask} has another ending: {call}, after {stands}"
        for call in endings
        if (call.path, call.body) != (stands.path, stands.body) or call.code not in {0, None}
    ]
    late = calls[calls.index(stands) + 1 :]
    wrong += [f"{subtask} was reported after its ending: {c}" for c in late if not c.is_ending]
    return wrong + [f"{subtask} was reported by a fenced attempt: {c}" for c in fenced(calls)]


def fenced(calls: list[Call]) -> list[Call]:
    """What was sent by sources after another's attempt had begun, and before one of their own."""
    found: list[Call] = []
    out: set[str] = set()
    begun: set[str] = set()
    for call in calls:
        if call.status == RUNNING and call.is_accepted:
            out = (out | begun) - {call.source}
            begun.add(call.source)
        elif call.source in out:
            found.append(call)
    return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A node that was killed: nothing to say."""


def _handler_of(ledger: Ledger, source: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(body)

        def _answer(self, body: bytes) -> None:
            call = Call(time.monotonic(), source, urlsplit(self.path).path, body)
            ledger.take(call)
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in {"host", "connection", "content-length"}
            }
            status, kind, said = ledger.pass_on(self.command, call, self.path, headers)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Nobody reads it."""

    return Handler
