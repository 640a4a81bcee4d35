"""The other process: imports plugins, one after the other, and says what came of each."""

from __future__ import annotations

import json
import sys
from importlib.metadata import entry_points
from typing import Any

from pydantic.errors import PydanticUserError

from plugin_framework.cli.info import description_of
from plugin_framework.cli.streams import own_stdout
from plugin_framework.errors import Code, PluginLoadError
from plugin_framework.plugin.command import die_with_parent
from plugin_framework.plugin.loader import EXTENSION_GROUP, PluginRef


def main() -> None:
    """Take orders from stdin; answer with a line for each, after one that says it has begun."""
    die_with_parent()
    orders = json.load(sys.stdin)
    sys.path[:] = orders["path"]
    with own_stdout() as say:
        say("begun")
        for one in orders["wanted"]:
            try:
                found = _plugin(one["ref"]) if one["kind"] == "plugin" else _extension(one["name"])
            except PluginLoadError as error:
                found = {"error": str(error), "code": error.code}
            say(json.dumps({"error": None, "version": "", "description": "", **found}))


def _plugin(ref: dict[str, Any]) -> dict[str, Any]:
    known = PluginRef(**ref)
    plugin = known.load()
    try:
        plugin.Config.model_json_schema()
    except PydanticUserError as error:
        reason = error.message.splitlines()[0]
        raise PluginLoadError(
            f"plugin {known.name}: its Config has no JSON Schema: {reason}", code=Code.NO_SCHEMA
        ) from None
    return {"version": plugin.version or known.version, "description": description_of(plugin)}


def _extension(name: str) -> dict[str, Any]:
    for point in entry_points(group=EXTENSION_GROUP, name=name):
        try:
            extension = point.load()
            if isinstance(extension, type):
                extension()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - theirs may raise anything
            lines = str(error).splitlines()
            reason = ": ".join([type(error).__name__, *lines[:1]])
            said = f"extension {name} cannot be loaded from {point.value}: {reason}"
            return {"error": said, "code": Code.EXTENSION_UNUSABLE}
    return {}


if __name__ == "__main__":
    main()
