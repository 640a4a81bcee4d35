"""``validateConfig`` says what the server says."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from playwright.sync_api import Page
from pydantic import BaseModel

from plugin_framework.errors import InvalidConfigError
from plugin_framework.plugin.base import DatahubPlugin, parse_config
from plugin_framework.service.form import config_script
from tests.service.form.strategies import cases

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


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(cases())
def test_the_form_and_the_server_agree(tab: Page, case: tuple[type[BaseModel], list[Any]]) -> None:
    model, values = case
    for sent, valid, message in verdicts(tab, model, values):
        expected = accepts(model, json.loads(sent))
        assert valid is expected, (model.model_json_schema(), sent, message)
        assert bool(message) is not valid
