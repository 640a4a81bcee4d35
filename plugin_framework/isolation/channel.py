"""The pipe between supervisor and plugin process: JSON messages, and nothing that is executed.

From the plugin process come calls (``{"call", "id", "args"}``; without an id, no answer is wanted);
back go answers (``{"answer": id, ...}``) and signals (``{"signal": "cancel"}``). Bytes follow their
answer as a message of their own.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from plugin_framework import errors
from plugin_framework.isolation.session import Ending, TaskHost, Verdict
from plugin_framework.plugin.context import UploadedFile
from plugin_framework.protocol.models import TaskStatus

MESSAGE_LIMIT = 64 * 1024 * 1024
"""Bytes of one message: more than any result or block that may pass."""

CALLS_AT_ONCE = 64
"""Calls of one plugin process that are under way; further messages wait in the pipe."""

CALLS = frozenset(
    {
        "close_output",
        "confirm",
        "discard_output",
        "download",
        "ended",
        "input_size",
        "open_output",
        "progress",
        "read_input",
        "save_state",
        "upload",
    }
)


class Channel:
    """One end of the pipe. Sending is safe from several threads; receiving is one thread's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: Mapping[str, Any], data: bytes | memoryview | None = None) -> None:
        """Send a message, and after it its bytes, if it has any.

        Raises:
            OSError: the other end is gone.
        """
        text = json.dumps(message).encode()
        with self._lock:
            self._connection.send_bytes(text)
            if data is not None:
                self._connection.send_bytes(data)

    def receive(self) -> dict[str, Any]:
        """The next message.

        Raises:
            EOFError: the other end is gone, perhaps with half a message sent.
            ValueError, RecursionError: it is not a message.
        """
        try:
            text = self._connection.recv_bytes(MESSAGE_LIMIT)
        except OSError as error:
            # That is how a connection takes a length beyond the limit.
            if not self._connection.readable:
                raise ValueError(f"a message of more than {MESSAGE_LIMIT} bytes") from None
            raise EOFError from error
        message = json.loads(text)
        if not isinstance(message, dict):
            raise ValueError("not a message")  # noqa: TRY004 - of the content, not of the call
        return message

    def receive_data(self) -> bytes:
        """The bytes that follow an answer."""
        return self._connection.recv_bytes(MESSAGE_LIMIT)

    def close(self) -> None:
        """Close this end. For the thread that receives."""
        with self._lock:
            self._connection.close()


class RemoteHost:
    """The supervisor, as seen from the plugin process."""

    def __init__(self, channel: Channel, on_signal: Callable[[str], None]) -> None:
        self._channel = channel
        self._on_signal = on_signal
        self._ids = itertools.count(1)
        self._waiting: dict[int, Future[Any]] = {}

    def listen(self) -> None:
        """Take answers and signals until the supervisor is gone."""
        try:
            while True:
                message = self._channel.receive()
                if "signal" in message:
                    self._on_signal(message["signal"])
                else:
                    self._settle(message)
        except (EOFError, OSError, ValueError):
            return

    def download(self, name: str | None) -> Path:
        """See Host."""
        return Path(self._ask("download", name))

    def input_size(self) -> int:
        """See Host."""
        return int(self._ask("input_size"))

    def read_input(self, offset: int, size: int) -> bytes:
        """See Host."""
        data: bytes = self._ask("read_input", offset, size)
        return data

    def upload(self, path: Path, name: str | None) -> UploadedFile:
        """See Host."""
        return UploadedFile(**self._ask("upload", str(path), name))

    def open_output(self, name: str, size: int | None) -> Path:
        """See Host."""
        return Path(self._ask("open_output", name, size))

    def close_output(self, name: str) -> UploadedFile:
        """See Host."""
        return UploadedFile(**self._ask("close_output", name))

    def discard_output(self, name: str) -> None:
        """See Host."""
        self._ask("discard_output", name)

    def progress(self, percent: float) -> None:
        """See Host."""
        self._tell("progress", percent)

    def tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        """See Host."""
        self._tell("tell", kind, dict(facts))

    def save_state(self, state: Mapping[str, Any]) -> None:
        """See Host."""
        self._ask("save_state", dict(state))

    def confirm(self, status: TaskStatus) -> None:
        """See Host."""
        self._ask("confirm", int(status))

    def ended(self, ending: Ending) -> Verdict:
        """See TaskHost."""
        return Verdict(**self._ask("ended", ending.as_json()))

    def log(self, record: Mapping[str, Any]) -> None:
        """Hand a log record over."""
        self._tell("log", dict(record))

    def _tell(self, call: str, *args: Any) -> None:
        self._channel.send({"call": call, "args": args})

    def _ask(self, call: str, *args: Any) -> Any:
        number = next(self._ids)
        future = self._waiting[number] = Future()
        self._channel.send({"call": call, "id": number, "args": args})
        return future.result()

    def _settle(self, message: dict[str, Any]) -> None:
        future = self._waiting.pop(message["answer"])
        if message.get("data"):
            future.set_result(self._channel.receive_data())
        elif "error" in message:
            future.set_exception(_error_from(message["error"]))
        else:
            future.set_result(message.get("value"))


def serve(channel: Channel, host: TaskHost, on_log: Callable[[dict[str, Any]], None]) -> None:
    """Answer a plugin process until it is gone. Calls that take long have a thread each.

    They are daemons: a call that hangs must not keep the interpreter from exiting.

    Raises:
        EOFError, OSError: it is gone, or closed the pipe.
        Exception: what came is not a message of this protocol.
    """
    slots = threading.BoundedSemaphore(CALLS_AT_ONCE)

    def answer(call: str, number: int, args: list[Any]) -> None:
        try:
            _answer(channel, host, call, number, args)
        finally:
            slots.release()

    while True:
        message = channel.receive()
        call, args = message.get("call"), message.get("args")
        if call == "log" and isinstance(args, list):
            on_log(args[0])
        elif call == "progress" and isinstance(args, list):
            host.progress(*args)
        elif call == "tell" and isinstance(args, list):
            host.tell(str(args[0]), dict(args[1]))
        elif call in CALLS and isinstance(args, list):
            slots.acquire()
            threading.Thread(
                target=answer, args=(call, int(message["id"]), args), daemon=True, name=call
            ).start()
        else:
            raise ValueError(f"the plugin process called {call!r:.100}")


def _answer(channel: Channel, host: TaskHost, call: str, number: int, args: list[Any]) -> None:
    answer: dict[str, Any] = {"answer": number}
    data = None
    try:
        value = _invoke(host, call, args)
        if isinstance(value, bytes | memoryview):
            answer["data"], data = True, value
        else:
            answer["value"] = value
    except BaseException as error:  # noqa: BLE001 - raised where the call came from
        answer["error"] = _error_to(error)
    # If the plugin process is gone, the runner has noticed.
    with suppress(OSError):
        channel.send(answer, data)


def _invoke(host: TaskHost, call: str, args: list[Any]) -> Any:
    if call == "ended":
        args = [Ending.of(args[0])]
    elif call == "confirm":
        args = [TaskStatus(args[0])]
    elif call == "upload":
        args = [Path(args[0]), args[1]]
    value = getattr(host, call)(*args)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value) if isinstance(value, Path) else value


def _error_to(error: BaseException) -> dict[str, Any]:
    known = isinstance(error, errors.DatahubError | errors.TaskInterrupted)
    if not known:
        logging.getLogger("datahub.isolation").error("an internal error", exc_info=error)
    plain = {k: v for k, v in vars(error).items() if isinstance(v, str | int | float | None)}
    # The nearest class that the other end knows: the modules below have subclasses of their own.
    kinds = (each.__name__ for each in type(error).__mro__ if _is_public(each))
    kind = next(kinds) if known else "DatahubError"
    facts = {"kind": kind, "message": str(error), "attributes": plain if known else {}}
    return facts | {"code": getattr(error, "code", errors.Code.UNEXPECTED)}


def _is_public(kind: type) -> bool:
    return vars(errors).get(kind.__name__) is kind


def _error_from(error: dict[str, Any]) -> BaseException:
    kind = getattr(errors, error["kind"], errors.DatahubError)
    made: BaseException = kind.__new__(kind, error["message"])
    made.args = (error["message"],)
    made.__dict__.update(error["attributes"], code=errors.Code(error["code"]))
    return made
