"""Reads a task's config from options: a JSON file or text, and single values."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from plugin_framework.errors import Code, InvalidConfigError


def read_config(given: str | None, assignments: Iterable[str]) -> dict[str, Any]:
    """The config that ``--config`` and ``--set`` make together.

    Raises:
        InvalidConfigError: a file that cannot be read, text that is not a JSON object, or an
            assignment without ``=``.
    """
    config = _object(given) if given else {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise InvalidConfigError(
                f"--set {assignment}: expected key=value", code=Code.CONFIG_UNREADABLE
            )
        _assign(config, key, _value(value))
    return config


def _object(given: str) -> dict[str, Any]:
    text, source = given, "the config"
    if not given.lstrip().startswith(("{", "[")):
        source = f"the config file {given}"
        try:
            text = Path(given).read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidConfigError(
                f"{source} cannot be read ({error.strerror})", code=Code.CONFIG_UNREADABLE
            ) from None
        except UnicodeDecodeError:
            raise InvalidConfigError(
                f"{source} is not UTF-8 text", code=Code.CONFIG_UNREADABLE
            ) from None
        except ValueError:
            raise InvalidConfigError(
                "the config is neither a JSON object nor a path", code=Code.CONFIG_UNREADABLE
            ) from None
    try:
        config = _json(text)
    except (ValueError, RecursionError) as error:
        raise InvalidConfigError(
            f"{source} is not JSON: {error}", code=Code.CONFIG_UNREADABLE
        ) from None
    if not isinstance(config, dict):
        raise InvalidConfigError(f"{source} is not a JSON object", code=Code.CONFIG_UNREADABLE)
    return config


def _value(text: str) -> Any:
    """A JSON value where it is one, else the text itself."""
    try:
        return _json(text)
    except (ValueError, RecursionError):
        return text


def _json(text: str) -> Any:
    """JSON, without the NaN and infinities that Python takes for it."""
    value = json.loads(text)
    json.dumps(value, allow_nan=False)
    return value


def _assign(config: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    inner = config
    for parent in parents:
        inner = inner.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise InvalidConfigError(
                f"--set {key}: {parent} is not an object", code=Code.CONFIG_UNREADABLE
            )
    inner[last] = value
