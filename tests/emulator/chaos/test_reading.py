"""What a file of rules may hold, and what is said of one that is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_framework.emulator.chaos import Chaos
from plugin_framework.emulator.chaos.presets import PRESETS
from plugin_framework.emulator.chaos.target import CALLS, GROUPS
from plugin_framework.errors import ConfigurationError

TOML = """
seed = 7

[[rules]]
fault = "status"
call = ["heartbeat", "result"]
status = 503
retry_after = 2

[[rules]]
name = "slow parts"
fault = "delay"
call = "put"
part = 2
seconds = 0.5
from = 1
until = 9
"""
CALL = f"expected one or more of {', '.join((*GROUPS, *CALLS))}"


def problems(*rules: Any, **more: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Chaos.from_json({"rules": list(rules), **more})
    return list(caught.value.problems)


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "chaos.toml").write_text(TOML)
    from_toml = Chaos.from_file(tmp_path / "chaos.toml")
    (tmp_path / "chaos.json").write_text(json.dumps(from_toml.as_json()))
    said = Chaos.from_file(tmp_path / "chaos.json").as_json()
    assert said == from_toml.as_json()
    assert said["seed"] == 7
    assert said["rules"] == [
        {
            "name": "status-1",
            "fault": "status",
            "call": ["heartbeat", "result"],
            "status": 503,
            "retry_after": 2,
        },
        {
            "name": "slow parts",
            "fault": "delay",
            "call": ["put"],
            "part": [2],
            "seconds": 0.5,
            "from": 1,
            "until": 9,
        },
    ]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: str(preset["name"]))
def test_presets_are_as_a_file_has_them(preset: dict[str, Any]) -> None:
    said = Chaos.from_json({"rules": preset["rules"]}).as_json()
    assert said["rules"] == preset["rules"]
    assert preset["title"]
    assert preset["meaning"]


SECONDS = "expected a number from 0 to 86400 (seconds)"
KINDS = "expected html, bytes, gzip, status_line or header"
HEADER = "expected seconds, or up to 200 printable ASCII characters"
EXPIRE = "expected some of get, put: those that expire makes sense for"
LATER = "expected a number greater than from (seconds)"


def of(fault: str, **fields: Any) -> dict[str, Any]:
    return {"fault": fault, **{name.rstrip("_"): value for name, value in fields.items()}}


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (of("dely"), 'fault="dely": expected one of delay, ...; did you mean delay?'),
        ({"seconds": 1}, "fault is missing: expected one of delay, ..."),
        (of("delay"), f"seconds is missing: {SECONDS}"),
        (of("hang", secnods=1), "secnods: no such field of hang; did you mean seconds?"),
        (of("hang", zzz=1), "zzz: no such field of hang"),
        (of("hang", seconds="5"), f'seconds="5": {SECONDS}'),
        (of("hang", seconds=-1), f"seconds=-1: {SECONDS}"),
        (of("hang", seconds=float("nan")), f"seconds=NaN: {SECONDS}"),
        (of("hang", call="hartbeat"), f'call="hartbeat": {CALL}; did you mean heartbeat?'),
        (of("hang", call=["get", 5]), f"call=5: {CALL}"),
        (of("expire", call="notify"), f'call="notify": {EXPIRE}'),
        (of("expire", call="api"), f'call="api": {EXPIRE}'),
        (of("hang", part=0), "part=0: expected one or more part numbers from 1 to 10000"),
        (of("hang", method="put"), 'method="put": expected GET, POST or PUT'),
        (of("hang", probability=2), "probability=2: expected a number greater than 0, at most 1"),
        (of("hang", count=True), "count=true: expected a whole number of 1 or more"),
        (of("hang", from_=3, until=3), f"until=3: {LATER}"),
        (of("hang", until=3, repeat=2), "repeat=2: expected a number of at least until (seconds)"),
        (of("hang", call="get", part=1), "part=1: none of the rule's calls has that"),
        (of("hang", call="api", method="PUT"), 'method="PUT": none of the rule\'s calls has that'),
        (of("status", status=200), "status=200: expected an HTTP status from 400 to 599"),
        (
            of("status", status=503, retry_after="a\r\nb"),
            f'retry_after="a\\r\\nb": {HEADER}',
        ),
        (of("garbage", kind="htlm"), f'kind="htlm": {KINDS}; did you mean html?'),
        (7, "7: expected a rule, which is an object"),
    ],
)
def test_each_mistake_is_a_line(rule: Any, line: str) -> None:
    (said,) = problems(rule)
    begin, _, end = f"chaos, rule 1: {line}".partition("...")
    assert said.startswith(begin)
    assert said.endswith(end)
    assert "\n" not in said


def test_all_mistakes_are_said_at_once() -> None:
    assert problems(
        {"fault": "hang", "name": "a", "seconds": "x", "count": 0},
        {"fault": "hang", "name": "b"},
        {"fault": "hang", "name": "b"},
        sede=1,
        seed="x",
    ) == [
        "chaos: sede: no such field; did you mean seed?",
        'chaos: seed="x": expected a whole number',
        "chaos, rule 1 (a): count=0: expected a whole number of 1 or more",
        'chaos, rule 1 (a): seconds="x": expected a number from 0 to 86400 (seconds)',
        'chaos, rule 3 (b): name="b": expected a text that no other rule has for a name',
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "rules = [", "expected a readable TOML file (Invalid value"),
        ("a.json", "{", "expected a readable JSON file (Expecting property name"),
        ("a.json", "[]", "expected an object with seed and rules"),
        (
            "a.json",
            '{"seed": 1, "seed": 2}',
            "expected a readable JSON file (a name is given twice in one object)",
        ),
        ("a.toml", "rules = 5", "rules=5: expected a list of rules"),
        ("a.toml", "\xff", "expected a readable TOML file ("),
        ("gone.toml", None, "expected a readable TOML file (No such file or directory)"),
    ],
)
def test_files_that_are_none(name: str, text: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError) as caught:
        Chaos.from_file(path)
    (line,) = caught.value.problems
    assert line.startswith(f"{path}: {said}")


def test_a_named_pipe_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = tmp_path / "chaos.toml"
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match="it is no regular file"):
        Chaos.from_file(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    [
        "name",
        "call",
        "method",
        "subtask",
        "part",
        "skip",
        "from",
        "until",
        "repeat",
        "seconds",
        "x\n",
    ]
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(FIELDS, JSON, max_size=4), st.sampled_from(["delay", "status", "hang"]))
def test_whatever_it_holds_it_is_read_or_refused_line_by_line(
    rule: dict[str, Any], fault: str
) -> None:
    said: tuple[str, ...] = ("fine",)
    try:
        Chaos.from_json({"rules": [{**rule, "fault": fault}]})
    except ConfigurationError as error:
        said = error.problems
    assert said
    assert all(line.isprintable() for line in said)
