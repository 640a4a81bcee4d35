"""``validateConfig`` says what the server says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from playwright.sync_api import Page
from pydantic import BaseModel, Field

from plugin_framework import PluginConfig
from plugin_framework.errors import InvalidConfigError
from plugin_framework.plugin.base import DatahubPlugin, parse_config
from plugin_framework.service.form import config_script
from tests.service.form.strategies import PATTERNS, cases

PATTERN_TEXTS = [
    *("", "a", "A", "ab", "AB", "abc", "abcd", "b", "a]", "a\n", "\n", "1", "12", "-", "x-1", "@"),
    *(
        "\u00e4",
        "\u0661",
        "\u00df",
        " ",
        "a b",
        "\u2028",
        "\u00a0a",
        "\U0001f600",
        ".",
        "_",
        "ab c",
    ),
]
VERDICTS = """([script, values]) => {
  const page = (0, eval)(script);
  return JSON.parse(values).map((value) => {
    const { valid, message } = page.validateConfig(value);
    return [JSON.stringify(value), valid, message];
  });
}"""


def verdicts(tab: Page, model: type[BaseModel], values: list[Any]) -> list[Any]:
    """For each value: the JSON that a browser sends, whether it is valid, and the message."""
    script = config_script(model.model_json_schema(), name="demo")
    found: list[Any] = tab.evaluate(VERDICTS, [script, json.dumps(values)])
    return found


def accepts(model: type[BaseModel], config: Any) -> bool:
    if not isinstance(config, dict):
        return False  # the service takes objects alone
    plugin = type("Plugin", (DatahubPlugin,), {"Config": model})
    try:
        parse_config(plugin, config)
    except InvalidConfigError:
        return False
    return True


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_means_the_same_in_the_browser(tab: Page, pattern: str) -> None:
    class Config(PluginConfig):
        text: str = Field(pattern=pattern)

    values = [{"text": text} for text in PATTERN_TEXTS]
    said = [valid for _, valid, _ in verdicts(tab, Config, values)]
    assert said == [accepts(Config, value) for value in values]
    assert len(set(said)) == 2, "texts that match, and texts that do not"


@pytest.mark.parametrize("pattern", [r"[a-c&&b]", r"a(?i)b", r"(?-u:\w)", r"[\W]", "[a[b]]"])
def test_on_a_pattern_that_browsers_lack_the_server_has_the_last_word(
    tab: Page, pattern: str
) -> None:
    class Config(PluginConfig):
        text: str = Field(pattern=pattern)

    values = [{"text": text} for text in PATTERN_TEXTS]
    assert all(valid for _, valid, _ in verdicts(tab, Config, values))


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,  # the same in every run; more were tried when this was written
    suppress_health_check=[HealthCheck.too_slow],
)
@given(cases())
def test_the_form_and_the_server_agree(tab: Page, case: tuple[type[BaseModel], list[Any]]) -> None:
    model, values = case
    for sent, valid, message in verdicts(tab, model, values):
        expected = accepts(model, json.loads(sent))
        assert valid is expected, (model.model_json_schema(), sent, message)
        assert bool(message) is not valid
