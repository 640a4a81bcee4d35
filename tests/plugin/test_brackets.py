"""A plugin's ``Config`` is what stands in brackets."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import pytest
from pydantic import BaseModel

from plugin_framework import DatahubPlugin, PluginConfig
from plugin_framework.errors import InvalidConfigError
from plugin_framework.plugin.base import config_schema, parse_config


class Size(PluginConfig):
    """A config."""

    size: int = 1


Settings = TypeVar("Settings", bound=BaseModel)
Row = TypeVar("Row")


class Bracketed(DatahubPlugin[Size]):
    """The plain case."""


class Base(DatahubPlugin[Settings]):
    """A base for several plugins."""


class TwoParameters(Base[Settings], Generic[Row, Settings]):
    """The parameter need not be the first."""


def test_it_validates_and_draws_the_form() -> None:
    assert Bracketed.Config is Size
    assert parse_config(Bracketed, {"size": 3}) == Size(size=3)
    assert set(config_schema(Bracketed)["properties"]) == {"size"}
    with pytest.raises(InvalidConfigError, match="did you mean size"):
        parse_config(Bracketed, {"sise": 3})


def test_it_may_come_through_a_base() -> None:
    class Plugin(Base[Size]):
        pass

    class Other(TwoParameters[str, Size]):
        pass

    assert Base.Config is PluginConfig
    assert Plugin.Config is Other.Config is Size


def test_it_is_inherited_and_may_be_replaced() -> None:
    class Heir(Bracketed):
        pass

    class Replaced(Bracketed):
        class Config(Size):
            """A larger one."""

            color: str = "red"

    assert Heir.Config is Size
    assert set(Replaced.Config.model_fields) == {"size", "color"}


def test_a_class_inside_does_without() -> None:
    class Plugin(DatahubPlugin):
        class Config(PluginConfig):
            """A config."""

            size: int = 1

    class Open(DatahubPlugin[Any]):
        Config = Size

    assert Plugin.Config().size == 1
    assert Open.Config is Size


def test_the_same_in_both_places_is_fine() -> None:
    class Plugin(DatahubPlugin[Size]):
        Config = Size

    assert Plugin.Config is Size


def test_two_configs_are_one_too_many() -> None:
    with pytest.raises(TypeError, match="Plugin: its Config is given twice"):

        class Plugin(DatahubPlugin[Size]):
            class Config(PluginConfig):
                """Another one."""


@pytest.mark.parametrize("given", [str, "Size", dict[str, int]])
def test_something_else_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=r"Plugin: DatahubPlugin\[\.\.\.\] takes a PluginConfig"):

        class Plugin(DatahubPlugin[given]):
            pass
