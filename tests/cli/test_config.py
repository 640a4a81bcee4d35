from __future__ import annotations

from pathlib import Path

import pytest

from plugin_framework.cli.config import read_config
from plugin_framework.errors import InvalidConfigError


def test_values_are_set_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"word": "é", "inner": {"a": 1}}')
    given = ["inner.a=2", "inner.b.c=[true]", "word=a=b", "zip=007", "n=NaN", "big=1e999", "no="]
    assert read_config(str(path), [*given, "deep=" + "[" * 99999]) == {
        "word": "a=b",
        "inner": {"a": 2, "b": {"c": [True]}},
        "zip": "007",
        "n": "NaN",
        "big": "1e999",
        "no": "",
        "deep": "[" * 99999,
    }


def test_text_is_a_config_too() -> None:
    assert read_config(' {"a": "ü"}', ()) == {"a": "ü"}
    assert read_config(None, ()) == {}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("[1]", "the config is not a JSON object"),
        ('{"a":', "the config is not JSON: "),
        ("a\0b", "the config is neither a JSON object nor a path"),
        ('{"a":' * 99999, "the config is not JSON: "),
        ('{"a": Infinity}', "the config is not JSON: "),
        (b"", "the config file {path} is not JSON: "),
        (b"[1]", "the config file {path} is not a JSON object"),
        ('{"a": "é"}'.encode("latin-1"), "the config file {path} is not UTF-8 text"),
        (None, "the config file {path} cannot be read (Is a directory)"),
    ],
    ids=lambda given: str(given)[:30],
)
def test_what_is_no_config(given: str | bytes | None, problem: str, tmp_path: Path) -> None:
    path = tmp_path if given is None else tmp_path / "file"
    if isinstance(given, bytes):
        path.write_bytes(given)
    with pytest.raises(InvalidConfigError) as raised:
        read_config(given if isinstance(given, str) else str(path), ())
    assert len(raised.value.problems) == 1
    assert raised.value.problems[0].startswith(problem.format(path=path))


@pytest.mark.parametrize(
    ("assignments", "problem"),
    [
        (["word"], "--set word: expected key=value"),
        (["=1"], "--set =1: expected key=value"),
        (["a=1", "a.b=2"], "--set a.b: a is not an object"),
    ],
)
def test_what_cannot_be_set(assignments: list[str], problem: str) -> None:
    with pytest.raises(InvalidConfigError) as raised:
        read_config(None, assignments)
    assert raised.value.problems == (problem,)
