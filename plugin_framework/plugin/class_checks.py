"""Whether a plugin class can be used, found out before a task needs it."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Mapping

from pydantic import BaseModel

from plugin_framework.errors import PluginLoadError
from plugin_framework.plugin.base import DatahubPlugin
from plugin_framework.plugin.hookspecs import TASK_HOOKS
from plugin_framework.plugin.manager import check_hooks, hooks_of

_CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "isolation": (None, "process", "thread"),
    "pause_mode": ("checkpoint", "freeze"),
}


def check_class(given: object) -> None:
    """See that a plugin class is given.

    Raises:
        PluginLoadError: it is something else, such as an object of one.
    """
    if isinstance(given, type) and issubclass(given, DatahubPlugin):
        return
    kind = type(given).__name__
    if isinstance(given, DatahubPlugin):
        raise PluginLoadError(f"plugin {kind}: give the class {kind}, and not an object of it")
    named = f"the class {given.__name__}" if isinstance(given, type) else f"an object of {kind}"
    raise PluginLoadError(f"a plugin is a DatahubPlugin class, and not {named}")


def check_usable(plugin: type[DatahubPlugin]) -> None:
    """See that tasks can be made of a plugin class.

    Raises:
        PluginLoadError: naming what is wrong with it.
    """
    if "process" not in hooks_of(plugin):
        raise PluginLoadError(f"plugin {plugin.__name__} has no process(self, ctx)")
    config: object = plugin.Config
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        raise PluginLoadError(f"plugin {plugin.__name__}: its Config is not a PluginConfig")
    for name in filter(lambda name: name.startswith("on_"), dir(plugin)):
        near = difflib.get_close_matches(name, TASK_HOOKS, n=1, cutoff=0.7)
        if near and name not in TASK_HOOKS:
            raise PluginLoadError(
                f"plugin {plugin.__name__}: {name} is not a hook; did you mean {near[0]}?"
            )
    _check_choices(plugin)
    _check_resources(plugin)
    check_hooks(plugin)
    _check_constructor(plugin)


def _check_choices(plugin: type[DatahubPlugin]) -> None:
    """See that nothing was chosen that is not there: it would be passed over."""
    for name, choices in _CHOICES.items():
        given: object = getattr(plugin, name)
        if given not in choices:
            words = " or ".join(repr(one) for one in choices if one is not None)
            raise PluginLoadError(
                f"plugin {plugin.__name__}: its {name} is {given!r:.50}; it can be {words}"
            )
    seconds: object = plugin.timeout_seconds
    if seconds is not None and not (
        isinstance(seconds, int | float) and 0 <= seconds <= sys.float_info.max
    ):
        raise PluginLoadError(
            f"plugin {plugin.__name__}: its timeout_seconds is {seconds!r:.50}; it can be a number"
            " of 0 or more"
        )


def _check_resources(plugin: type[DatahubPlugin]) -> None:
    """See that they can be told to other processes; what they say is for engines to judge."""
    given: object = plugin.resources
    if not isinstance(given, Mapping) or not all(
        isinstance(key, str) and isinstance(value, int | float | str)
        for key, value in given.items()
    ):
        raise PluginLoadError(
            f"plugin {plugin.__name__}: its resources are not a mapping such as"
            ' {"cpus": 1, "memory": "2GiB"}'
        )


def _check_constructor(plugin: type[DatahubPlugin]) -> None:
    """See that one can be made without arguments, as each task does."""
    try:
        inspect.signature(plugin).bind()
    except TypeError:
        raise PluginLoadError(
            f"plugin {plugin.__name__}: its __init__ takes no parameters but self; what a task is"
            " to be told belongs in its Config"
        ) from None
    except ValueError:  # it is not written in Python, and has no signature
        return
