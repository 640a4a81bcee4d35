"""A command that runs until it is ended, and what it has said so far."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Self

import httpx

from tests.cli.calling import DEADLINE, Family, problem_of, start

PAGE = "page: "


def until(condition: Callable[[], Any], what: str = "it") -> Any:
    """What a condition gives once it holds."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} does not come about"
        time.sleep(0.02)  # between two looks
    return found


class Running:
    """``datahub-plugin`` with these arguments; killed at the end if it still lives."""

    def __init__(self, *arguments: str | Path, cwd: Path, **env: str) -> None:
        self._arguments = arguments
        self._cwd = cwd
        self.family = Family.new()
        self._env = {**self.family.env, **env}
        self.out: list[str] = []
        self.err: list[str] = []
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        self.process = start(*self._arguments, cwd=self._cwd, env=self._env)
        assert self.process.stdout
        assert self.process.stderr
        self._readers = [
            threading.Thread(target=self._read, args=given, daemon=True)
            for given in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._finish()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _finish(self) -> int:
        code = self.process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream
            stream.close()
        return code

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """What a condition on what was said gives once it holds."""
        with self._changed:
            self._changed.wait_for(
                lambda: condition() or not any(reader.is_alive() for reader in self._readers),
                DEADLINE,
            )
            found = condition()
        assert found, "\n".join([*self.out, *self.err])
        return found

    @property
    def url(self) -> str:
        """The page's address, which is the first line that is printed."""
        self.wait_for(lambda: self.out)
        assert self.out[0].startswith(PAGE)
        return self.out[0].removeprefix(PAGE).removesuffix("/")

    @property
    def log(self) -> list[dict[str, Any]]:
        """What was logged so far."""
        return [json.loads(line) for line in list(self.err) if line.startswith("{")]

    def said(self, text: str, times: int = 1) -> dict[str, Any]:
        """The log line with this in its message, when it has come so many times."""
        found: dict[str, Any] = self.wait_for(
            lambda: next(iter(self._with(text)[times - 1 : times]), None)
        )
        return found

    def _with(self, text: str) -> list[dict[str, Any]]:
        return [line for line in self.log if text in line["message"]]

    def end(self, number: int = signal.SIGINT) -> int:
        """Signal it; its exit code."""
        self.process.send_signal(number)
        return self._finish()

    def problem(self) -> str:
        """The one line with which it ended, with exit code 2."""
        assert self._finish() == 2
        assert self.out == []
        (line,) = self.err
        return problem_of(line)[0]

    # The page's calls

    def call(self, method: str, path: str, **given: Any) -> Any:
        """Do what the page does."""
        answer = httpx.request(
            method,
            f"{self.url}/local/{path}",
            headers={"X-Datahub-Local": "1"},
            timeout=DEADLINE,
            trust_env=False,
            **given,
        )
        assert answer.is_success, answer.text
        return answer.json()

    def create(self, plugin: str, **config: Any) -> str:
        """A new task of a plugin; its subtask's id."""
        task = self.call("POST", "tasks", json={"plugin": plugin, "config": config})
        return str(task["subtask_id"])

    def task(self, subtask_id: str) -> dict[str, Any]:
        """A task as it is."""
        found: dict[str, Any] = self.call("GET", f"tasks/{subtask_id}")
        return found

    def task_with(self, subtask_id: str, **wanted: Any) -> dict[str, Any]:
        """A task once these of its fields are so."""
        found: dict[str, Any] = {}

        def is_so() -> bool:
            nonlocal found
            found = self.task(subtask_id)
            return all(found[name] == value for name, value in wanted.items())

        try:
            until(is_so, str(wanted))
        except AssertionError as error:
            raise AssertionError(f"{error}: {found}\n" + "\n".join(self.err)) from None
        return found
