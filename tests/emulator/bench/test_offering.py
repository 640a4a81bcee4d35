"""Tasks are offered on schedule, whatever a service answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise

import pytest

from plugin_framework.emulator import Credentials
from plugin_framework.emulator.bench.ledger import Task
from plugin_framework.emulator.bench.offering import Offering
from plugin_framework.emulator.bench.target import Target, find_target, read_answer
from plugin_framework.errors import ConfigurationError
from plugin_framework.protocol.signing import signature_is_valid

DEADLINE = 60.0
SLOW = 0.1
SIGNED = Credentials("key", "secret")


class _Service(BaseHTTPRequestHandler):
    """Answers one call at a time, slowly."""

    plugins: tuple[str, ...] = ()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key, stamp = self.headers["D-API-KEY"], self.headers["D-TIMESTAMP"]
        assert key == SIGNED.key
        assert signature_is_valid(self.headers["D-SIGNATURE"], [SIGNED.secret], {}, body, stamp)
        assert json.loads(body)["config"] == {"n": 1}
        threading.Event().wait(SLOW)
        self._answer({"code": 0, "msg": "success", "data": None})

    def do_GET(self) -> None:
        plugins = [{"plugin_id": name} for name in self.plugins]
        more = {"plugins": plugins} if len(plugins) > 1 else {}
        self._answer({"code": 0, "msg": "success", "status": "healthy", **more})

    def _answer(self, envelope: object) -> None:
        said = json.dumps(envelope).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nobody reads it."""


@contextmanager
def _served(*plugins: str) -> Iterator[str]:
    handler = type("Handler", (_Service,), {"plugins": plugins})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _until(offering: Offering) -> None:
    deadline = time.monotonic() + DEADLINE
    while not offering.over and time.monotonic() < deadline:
        threading.Event().wait(0.01)


def test_a_slow_service_does_not_slow_the_offers_down_and_its_waits_show() -> None:
    tasks = [Task(f"t-{number}") for number in range(8)]
    with _served() as url:
        offering = Offering(Target(url, SIGNED, {"n": 1}), tasks, 200)
        offering.start()
        _until(offering)
        offering.stop()
    assert [task.answer for task in tasks] == ["accepted"] * 8
    gaps = [after.due - before.due for before, after in pairwise(tasks)]
    assert gaps == pytest.approx([1 / 200] * 7, abs=1e-6)
    waits = sorted(task.answered - task.due for task in tasks if task.answered)
    # Had each been offered when the one before it was answered, none would have waited so long.
    assert waits[-1] > 6 * SLOW


def test_offers_that_are_stopped_are_not_made() -> None:
    tasks = [Task("now"), Task("in an hour")]
    with _served() as url:
        offering = Offering(Target(url, SIGNED, {"n": 1}), tasks, 1 / 3600)
        offering.start()
        deadline = time.monotonic() + DEADLINE
        while tasks[0].answer is None and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        offering.stop()
    assert [task.answer for task in tasks] == ["accepted", None]


def test_a_service_that_is_gone_answers_nothing() -> None:
    with _served() as url:
        pass
    tasks = [Task("one")]
    offering = Offering(Target(url, SIGNED, {}), tasks, 10)
    offering.start()
    _until(offering)
    assert tasks[0].answer == "none"
    assert tasks[0].problem


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (200, b'{"code": 0, "msg": "success", "data": null}', "accepted"),
        (200, b'{"data": null}', "accepted"),
        (200, b'{"code": 1, "msg": "Busy now"}', "busy"),
        (503, b'{"code": 1, "msg": "busy"}', "busy"),
        (503, b"<html>", "busy"),
        (429, b"{}", "busy"),
        (400, b'{"code": 400, "msg": "config.n: wrong"}', "refused"),
        (200, b'{"code": 1, "msg": "no such plugin"}', "refused"),
        (200, b"[]", "refused"),
    ],
)
def test_answers_are_told_apart(status: int, body: bytes, answer: str) -> None:
    assert read_answer(status, body)[0] == answer


def test_a_plugin_among_several_has_an_address_of_its_own() -> None:
    with _served("words", "cats") as url:
        assert find_target(f"{url}/", "cats", SIGNED, {}).base == f"{url}/cats"
        with pytest.raises(ConfigurationError, match="give --plugin, one of words, cats"):
            find_target(url, None, SIGNED, {})
        with pytest.raises(ConfigurationError, match="no plugin dogs"):
            find_target(url, "dogs", SIGNED, {})
    with _served("words") as url:
        assert find_target(url, None, SIGNED, {}).base == url
