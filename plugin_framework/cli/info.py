"""``list`` and ``info``: which plugins are installed, and what one of them is."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from plugin_framework.cli.streams import own_stdout

if TYPE_CHECKING:
    from plugin_framework.plugin.base import DatahubPlugin
    from plugin_framework.plugin.loader import PluginRef


@click.command("list")
def list_command() -> None:
    """List the installed plugins.

    One that cannot be imported is listed as broken, with the reason.
    """
    from plugin_framework.plugin.loader import installed_plugins  # noqa: PLC0415 - loaded late

    plugins = installed_plugins()
    if not plugins:
        click.echo("no plugins are installed (entry points of the group datahub.plugins)", err=True)
        return
    width = max(map(len, plugins))
    with own_stdout() as say:
        for name, ref in plugins.items():
            say(f"{name:<{width}}  {_summary(ref)}")


@click.command("info")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info_command(name: str, *, as_json: bool) -> None:
    """Show what plugin NAME does, takes and needs.

    NAME is an installed plugin, or a reference such as package.module:Class.
    """
    from plugin_framework.plugin.loader import find_plugin  # noqa: PLC0415 - loaded late

    import_from_here(name)
    ref = find_plugin(name)
    with own_stdout() as say:
        facts = _facts(ref, ref.load())
        say(json.dumps(facts, indent=2, default=str) if as_json else "\n".join(_lines(facts)))


def import_from_here(name: str) -> None:
    """Let a reference such as ``module:Class`` name a module in the current folder."""
    if ":" in name and "" not in sys.path:
        sys.path.insert(0, "")


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    timeout, resources = facts["timeout_seconds"], facts["resources"]
    said = {
        **{key: facts[key] for key in ("name", "version", "description")},
        "hooks": ", ".join(facts["hooks"]),
        **{key: facts[key] for key in ("isolation", "pause_mode")},
        "timeout_seconds": f"{timeout or 'none'} (what a whole task may take)",
        "resources": f"{json.dumps(resources, default=str) if resources else 'none'}"
        " (what one task needs, for engines)",
    }
    for key, text in said.items():
        yield f"{key:<16} {text}".rstrip()
    yield "config"
    for line in _config_lines(facts["config_schema"]):
        yield f"  {line}"
    yield "environment (defaults; * is set now, in the environment or .env)"
    for variable in facts["environment"]:
        mark = "*" if variable["set"] else " "
        yield f"{mark} {variable['variable']:<36} {variable['default']}"


def description_of(plugin: type[DatahubPlugin]) -> str:
    """The first line of the class's own docstring."""
    lines = inspect.cleandoc(plugin.__dict__.get("__doc__") or "").splitlines()
    return lines[0] if lines else ""


def _summary(ref: PluginRef) -> str:
    from plugin_framework.errors import PluginLoadError  # noqa: PLC0415 - loaded late

    try:
        plugin = ref.load()
    except PluginLoadError as error:
        return f"broken: {' '.join(str(error).split())}"
    return f"{plugin.version or ref.version:<10} {description_of(plugin)}"


def _facts(ref: PluginRef, plugin: type[DatahubPlugin]) -> dict[str, Any]:
    from plugin_framework.plugin.manager import hooks_of  # noqa: PLC0415 - loaded late
    from plugin_framework.settings import (  # noqa: PLC0415 - loaded late
        describe_settings,
        given_variables,
    )

    given = given_variables()
    return {
        "name": ref.name,
        "version": plugin.version or ref.version,
        "description": description_of(plugin),
        "hooks": list(hooks_of(plugin)),
        "isolation": plugin.isolation or "process",
        "pause_mode": plugin.pause_mode,
        "timeout_seconds": plugin.timeout_seconds,
        "resources": dict(plugin.resources),
        "config_schema": schema_of(ref.name, plugin),
        "environment": [
            {
                "variable": setting.variable,
                "expected": setting.expected,
                "default": setting.default,
                "meaning": setting.meaning,
                "set": setting.variable in given,
            }
            for setting in describe_settings()
        ],
    }


def schema_of(name: str, plugin: type[DatahubPlugin]) -> dict[str, Any]:
    """The JSON Schema of the config of the plugin of that name.

    Raises:
        PluginLoadError: it has none.
    """
    from pydantic.errors import PydanticUserError  # noqa: PLC0415 - loaded late

    from plugin_framework.errors import Code, PluginLoadError  # noqa: PLC0415 - loaded late

    try:
        return plugin.Config.model_json_schema()
    except PydanticUserError as error:
        reason = error.message.splitlines()[0]
        raise PluginLoadError(
            f"plugin {name}: its Config has no JSON Schema: {reason}", code=Code.NO_SCHEMA
        ) from None


def _config_lines(schema: dict[str, Any]) -> list[str]:
    required = schema.get("required", [])
    lines = []
    for key, field in schema.get("properties", {}).items():
        default = "required" if key in required else f"default {json.dumps(field.get('default'))}"
        words = [field.get("title", ""), field.get("description", "")]
        text = ". ".join(word.rstrip(".") for word in words if word)
        lines.append(f"{key:<20} {_type(schema, field):<8} {default:<18} {text}".rstrip())
    return lines or ["takes none"]


def _type(schema: dict[str, Any], field: dict[str, Any]) -> str:
    """A field's type; of an optional one that of its value, for the default says null."""
    if "$ref" in field:
        field = schema["$defs"][field["$ref"].rpartition("/")[2]]
    if "type" in field:
        return str(field["type"])
    parts = [*field.get("anyOf", ()), *field.get("oneOf", ()), *field.get("allOf", ())]
    names = dict.fromkeys(_type(schema, part) for part in parts)
    return " or ".join(name for name in names if name != "null") or "any"
