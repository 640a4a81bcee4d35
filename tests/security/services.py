"""Asks a service for all that it answers, rightly and wrongly."""

from __future__ import annotations

from collections.abc import Iterator

from tests.service.calling import Answer, Caller

OPEN = ("/live", "/ready", "/metrics", "/openapi.json", "/config.js", "/nothing", "/api/plugin/x")
CREATE = "/api/plugin/create_task"


def ask_everything(caller: Caller) -> dict[str, str]:
    """Headers and body of each answer, by what was asked."""
    return {what: f"{answer.headers} {answer.raw!r}" for what, answer in _answers(caller)}


def _answers(caller: Caller) -> Iterator[tuple[str, Answer]]:
    for path in OPEN:
        yield path, caller.get(path)
        yield f"{path}, posted", caller.post(path, {})
    yield "health", caller.health()
    yield "no JSON", caller.post(CREATE, b"{")
    yield "no subtask", caller.post(CREATE, {})
    yield "wrong config", caller.create("wrong", {"looked_for": 1})
    yield "unknown", caller.manage("unknown", 4)
    yield "unsigned", caller.send("POST", CREATE, b"{}", {})
    headers = caller.headers({}, b"{}")
    yield "another body", caller.send("POST", CREATE, b"{ }", headers)
    yield "taken", caller.send("POST", CREATE, b"{}", headers)
    yield "replayed", caller.send("POST", CREATE, b"{}", headers)
