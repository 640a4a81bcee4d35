"""The commands of a cluster as processes of their own, and what they have said so far."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.cluster.rabbitmq import WITH_US
from tests.service.calling import SIGNED, Caller

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0


def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """What a condition gives once it holds."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)  # between two looks
    return found


def _line(line: Mapping[str, Any]) -> str:
    parts = (line.get("time", "")[11:23], line.get("level", ""), line.get("attempt", ""))
    head = " ".join(str(part) for part in parts if part)
    return "\n".join(filter(None, [f"{head} {line['message']}", line.get("traceback")]))


def environment(**variables: str) -> dict[str, str]:
    """Ours, with no other Datahub setting than these."""
    clean = {name: value for name, value in os.environ.items() if "DATAHUB" not in name}
    path = os.pathsep.join(filter(None, (str(ROOT), clean.get("PYTHONPATH"))))
    return {**clean, "PYTHONPATH": path, "DATAHUB_LOG_FORMAT": "json", **variables}


class Command:
    """``datahub-plugin`` with these arguments; killed at the end if it still lives.

    ``before`` is what to run it by. What it writes is kept: ``lines`` of its log, as JSON, and
    ``text``, all of it.
    """

    def __init__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str],
        name: str = "",
        before: Sequence[str] = (),
    ) -> None:
        self.name = name or str(arguments[0])
        self._command = [
            *WITH_US,
            *before,
            *(sys.executable, "-m", "plugin_framework", *map(str, arguments)),
        ]
        self._env = environment(**env)
        self.lines: list[dict[str, Any]] = []
        self._said: list[str] = []
        self._printed: list[str] = []
        self._changed = threading.Condition()
        self._readers: list[threading.Thread] = []
        self._streams = 2

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        for read in (self._read_log, self._read_output):
            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            self._readers.append(reader)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._finish()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        """All that it has said."""
        with self._changed:
            return "".join(self._said)

    @property
    def shown(self) -> str:
        """The same for people."""
        with self._changed:
            return "\n".join(map(_line, self.lines))

    @property
    def output(self) -> list[str]:
        """What it has printed, line by line."""
        with self._changed:
            return list(self._printed)

    def said(self, text: str, *, seconds: float = DEADLINE, times: int = 1) -> dict[str, Any]:
        """The log line with this in its message, once it has come so many times."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.found(text)) >= times or self._over(), seconds)
            found = self.found(text)
            assert len(found) >= times, f"{self.name} does not say {text!r}:\n{self.shown}"
            return found[times - 1]

    def printed(self, seconds: float = DEADLINE) -> str:
        """The first line on its standard output."""
        with self._changed:
            self._changed.wait_for(lambda: self._printed or self._over(), seconds)
            assert self._printed, self.shown
            return self._printed[0]

    def found(self, text: str) -> list[dict[str, Any]]:
        """The log lines with this in their message, so far."""
        with self._changed:
            return [line for line in self.lines if text in line["message"]]

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self._finish()

    def stop(self, number: int = signal.SIGTERM, seconds: float = DEADLINE) -> int:
        """End it in good order; its exit code."""
        self.process.send_signal(number)
        return self.end(seconds)

    def end(self, seconds: float = DEADLINE) -> int:
        """Wait for its end; its exit code."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end:\n{self.shown}") from None
        return self._finish()

    def _finish(self) -> int:
        code = self.process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code

    def _over(self) -> bool:
        return self._streams == 0

    def _read_log(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._changed:
                self._said.append(line)
                self.lines.append(json.loads(line) if line.startswith("{") else {"message": line})
                self._changed.notify_all()
        self._close()

    def _read_output(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._changed:
                self._printed.append(line.rstrip("\n"))
                self._changed.notify_all()
        self._close()

    def _close(self) -> None:
        with self._changed:
            self._streams -= 1
            self._changed.notify_all()


class Service(Command):
    """``serve``, on a port that it keeps when it is started again."""

    def __init__(self, *names: str, port: int, env: Mapping[str, str]) -> None:
        super().__init__("serve", *names, "--port", str(port), env={**SIGNED, **env})

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            said = self.said(" on http://")
        except BaseException:
            self.__exit__()
            raise
        self.call = Caller(said["message"].rpartition(" ")[2])
        return self

    def health(self) -> dict[str, Any]:
        """The answer to a health check; no two are the same, or they would be taken for replays."""
        answer = self.call.get("/api/plugin/health", {"timestamp": str(time.time_ns())})
        assert answer.fate == (200, 0), answer.body
        found: dict[str, Any] = answer.body
        return found

    def cluster(self) -> dict[str, Any]:
        """What health says of nodes and queues, once they were looked at."""
        found: dict[str, Any] = until(lambda: self.health().get("cluster"), "a look at the cluster")
        return found


class Worker(Command):
    """``worker``: a machine of the cluster, named ``label``."""

    def __init__(
        self,
        label: str,
        *arguments: str,
        env: Mapping[str, str],
        before: Sequence[str] = (),
    ) -> None:
        super().__init__(
            "worker",
            *arguments,
            env={**SIGNED, "DATAHUB_NODE": label, **env},
            name=label,
            before=before,
        )
