"""The format of rules, as data: for the page, and for the reference."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Container
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from plugin_framework.emulator.chaos.rules import FAULTS, Expected, Rule


@functools.cache
def described() -> dict[str, Any]:
    """``fields`` that all rules have, and ``faults`` with what each of them has besides.

    Each field has a JSON Schema, for forms, beside the words for people.
    """
    return {
        "fields": _fields(Rule, Rule.model_fields),
        "faults": [_fault(name, kind) for name, kind in FAULTS.items()],
    }


def _fault(name: str, kind: type[Rule]) -> dict[str, Any]:
    return {
        "name": name,
        "meaning": _text(inspect.getdoc(kind)),
        "calls": list(kind.applies),
        "fields": _fields(kind, kind.model_fields.keys() - Rule.model_fields.keys() - {"fault"}),
    }


def _fields(kind: type[Rule], names: Container[str]) -> list[dict[str, Any]]:
    schema = kind.model_json_schema()["properties"]
    return [
        {**_field(info.alias or name, info), "schema": schema[info.alias or name]}
        for name, info in kind.model_fields.items()
        if name in names
    ]


def _field(name: str, info: FieldInfo) -> dict[str, Any]:
    expected = next(entry.text for entry in info.metadata if isinstance(entry, Expected))
    required = info.default is PydanticUndefined
    return {
        "name": name,
        "meaning": _text(info.description),
        "expected": expected,
        "required": required,
        "default": None if required else info.default,
    }


def _text(text: str | None) -> str:
    return " ".join((text or "").split())
