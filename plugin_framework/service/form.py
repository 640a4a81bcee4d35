"""The configuration page's script (PROTOCOL.md, 2.6), made from a plugin's JSON Schema."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeAlias

ScriptShape: TypeAlias = Literal["script", "function", "module"]

GLOBAL_NAME = "datahubPluginConfig"
"""The property of ``globalThis`` under which the page finds the object."""

_LEAD = {"script": "", "function": "return ", "module": "export default "}
_SOURCES = (
    "form_patterns.js",
    "form_dates.js",
    "form_check.js",
    "form_controls.js",
    "form_fields.js",
    "form.js",
)


def config_script(schema: Mapping[str, Any], *, name: str, shape: ScriptShape = "script") -> str:
    """JavaScript that gives an object with ``init`` and ``validateConfig``.

    ``schema`` is what ``Config.model_json_schema()`` gives, and ``name`` is shown where the schema
    has no title. One text cannot suit every way of loading it, so there are three shapes:

    - ``script``: one expression. A classic script leaves the object in
      ``globalThis.datahubPluginConfig``, and evaluating the text yields it.
    - ``function``: the body of a function that returns the object, for ``new Function(text)()``.
    - ``module``: an ES module whose default export is the object.

    Raises:
        ValueError: there is no such shape.
    """
    if shape not in _LEAD:
        raise ValueError(f"shape={shape!r}: expected one of {', '.join(_LEAD)}")
    parts = [_text_of(source) for source in _SOURCES]
    given = ", ".join(
        [f"JSON.parse({_literal(_dumped(schema))})", _literal(name), _literal(_text_of("form.css"))]
    )
    return "\n".join(
        [
            f'{_LEAD[shape]}(() => {{\n"use strict";',
            *parts,
            f"return (globalThis.{GLOBAL_NAME} = configPage({given}));",
            "})()\n",
        ]
    )


@cache
def _text_of(source: str) -> str:
    return files(__package__).joinpath(source).read_text(encoding="utf-8")


def _dumped(schema: Mapping[str, Any]) -> str:
    return json.dumps(_finite(dict(schema)), allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    """The same without NaN and infinities, which a default may hold and JSON has no words for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _literal(text: str) -> str:
    """A string literal that is safe within a ``script`` element too."""
    return json.dumps(text).replace("<", "\\u003c")
