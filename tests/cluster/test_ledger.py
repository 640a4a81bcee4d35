"""The judge itself: what it finds wrong, and what it does not."""

from __future__ import annotations

import json

import pytest

from tests.cluster.ledger import RESULT, STATUS, Call, fenced, wrongs_of

BEAT = "/api/task/heartbeat"


def calls(*told: str) -> list[Call]:
    """``a 1`` is a status of node a, ``a beat`` a heartbeat, ``a =x`` a result; ! is refused."""
    found = []
    for number, one in enumerate(told):
        source, _, what = one.rstrip("!").partition(" ")
        path, content = STATUS, dict[str, object]()
        if what == "beat":
            path, content = BEAT, {}
        elif what.startswith("="):
            path, content = RESULT, {"result": what}
        elif what:
            content = {"status": int(what)}
        body = json.dumps({"subtask_id": "s", **content}).encode()
        found.append(Call(number, source, path, body, 1 if one.endswith("!") else 0))
    return found


@pytest.mark.parametrize(
    "told",
    [
        ("a 1", "a beat", "a =x"),
        ("a 1", "a 2", "a 1", "a =x", "a =x"),
        ("a 1", "b 1", "b =x"),
        ("a 1", "b 1", "a 1", "a beat", "a =x"),
        # The ending that is in the store is delivered by another.
        ("a 1", "b =x"),
        ("s 4",),
    ],
)
def test_nothing_is_wrong(told: tuple[str, ...]) -> None:
    assert wrongs_of("s", calls(*told)) == []


@pytest.mark.parametrize(
    ("told", "word"),
    [
        (("a 1", "a beat"), "no ending"),
        (("a 1", "a =x!"), "no ending"),
        (("a 1", "a =x", "b =y!"), "another ending"),
        (("a 1", "a =x", "b 5!"), "another ending"),
        (("a 1", "a =x", "a beat!"), "after its ending"),
        (("a 1", "a =x", "b 1!"), "after its ending"),
        (("a 1", "b 1", "a beat", "b =x"), "fenced"),
        (("a 1", "b 1", "a =x"), "fenced"),
        (("a 1", "b 1", "b =x", "a =x"), "fenced"),
    ],
)
def test_something_is_wrong(told: tuple[str, ...], word: str) -> None:
    (wrong,) = wrongs_of("s", calls(*told))
    assert word in wrong


def test_a_fenced_node_may_begin_anew() -> None:
    made = calls("a 1", "b 1", "a beat", "c 1", "b beat", "b 1", "b beat")
    assert [str(call.at) for call in fenced(made)] == ["2", "4"]
