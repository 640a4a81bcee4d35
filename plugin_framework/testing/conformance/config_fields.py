"""What stands in a plugin's Config, in models within it, too: titles, and what nobody may read."""

from __future__ import annotations

import re
import secrets
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic_core import to_jsonable_python

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:pass(?:word|wd|phrase)?|secret|token|credentials?|(?:api|private|access)_?key)(?:$|_)"
)
_SECRET_KINDS = (SecretStr, SecretBytes)
_TEXT = (str, bytes)


def untitled(model: type[BaseModel], seen: frozenset[type] = frozenset()) -> Iterator[str]:
    """The fields without a title of the author's: a schema gives them one made of their name."""
    for name, field in model.model_fields.items():
        if not field.title:
            yield name
        for inner in _models_in(field.annotation):
            if inner not in seen:
                yield from (f"{name}.{each}" for each in untitled(inner, seen | {model, inner}))


def _models_in(kind: Any) -> Iterator[type[BaseModel]]:
    if _is_model(kind):
        yield kind
    for inner in typing.get_args(kind):
        yield from _models_in(inner)


def secrets_of(config: BaseModel) -> Iterator[tuple[str, str]]:
    """The names of secrets that a config holds, and they: what was given, and defaults.

    The default of a text field that is only called so is none: who reads the code knows it.
    """
    for name in type(config).model_fields:
        named = name in config.model_fields_set and _is_secret_name(name)
        yield from _secrets_within(name, getattr(config, name), named=named)


def _secrets_within(name: str, value: Any, *, named: bool) -> Iterator[tuple[str, str]]:
    if isinstance(value, _SECRET_KINDS):
        yield name, _revealed(value)
    elif isinstance(value, BaseModel):
        yield from ((f"{name}.{inner}", secret) for inner, secret in secrets_of(value))
    elif isinstance(value, str) and named:
        yield name, value
    elif isinstance(value, Collection) and not isinstance(value, _TEXT):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _secrets_within(name, each, named=named)


class Planted:
    """One field of a config, with secrets of ours wherever there is none in it.

    Attributes:
        key: what the field is called in a config.
        value: what it is to hold, as JSON has it.
        fields: the names of all secret fields in it.
        secrets: ours, by the names of their fields.
    """

    def __init__(self, config: BaseModel, name: str) -> None:
        self.fields: list[str] = []
        self.secrets: dict[str, str] = {}
        field = type(config).model_fields[name]
        self.key: str = field.alias or name
        value = getattr(config, name) if name in config.model_fields_set else None
        default = getattr(config, name) if _is_model(type(getattr(config, name))) else None
        planted = self._value(field.annotation, value or default, name, frozenset())
        self.value: Any = to_jsonable_python(planted, by_alias=True)

    def _value(self, kind: Any, given: Any, path: str, seen: frozenset[Any]) -> Any:
        """What a value of that kind is to be; as it is given where it holds no secret."""
        inner, origin = typing.get_args(kind), typing.get_origin(kind)
        if kind in _SECRET_KINDS or (kind is str and _is_secret_name(path)):
            return self._secret(given, path)
        if _is_model(kind) and kind not in seen:
            return self._model(kind, given, path, seen | {kind})
        if isinstance(origin, type) and issubclass(origin, Mapping):
            items = (given or {"any": None}).items()
            return {key: self._value(inner[1], one, path, seen) for key, one in items}
        if isinstance(origin, type) and issubclass(origin, Collection):
            return [self._value(inner[0], one, path, seen) for one in given or [None]]
        return self._first_of(inner, given, path, seen)

    def _model(
        self, model: type[BaseModel], given: Any, path: str, seen: frozenset[Any]
    ) -> dict[str, Any]:
        values = {}
        for name, field in model.model_fields.items():
            is_set = isinstance(given, model) and name in given.model_fields_set
            before = len(self.fields)
            value = getattr(given, name) if is_set else None
            value = self._value(field.annotation, value, f"{path}.{name}", seen)
            if is_set or len(self.fields) > before:
                values[field.alias or name] = value
        return values

    def _first_of(self, kinds: tuple[Any, ...], given: Any, path: str, seen: frozenset[Any]) -> Any:
        """Of a union, the first kind with a secret; an annotated kind is the first of its own."""
        for kind in kinds:
            before = len(self.fields)
            value = self._value(kind, given, path, seen)
            if len(self.fields) > before:
                return value
        return given

    def _secret(self, given: Any, path: str) -> str:
        self.fields.append(path)
        if given is not None:
            return _revealed(given)
        return self.secrets.setdefault(path, f"canary-{secrets.token_hex(12)}")


def planted_in(config: BaseModel) -> list[Planted]:
    """The fields of a config that hold secrets, or may."""
    each = (Planted(config, name) for name in type(config).model_fields)
    return [planted for planted in each if planted.fields]


def _is_secret_name(path: str) -> bool:
    return bool(_SECRET_NAME.search(path.rpartition(".")[2].lower()))


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _revealed(value: Any) -> str:
    secret = value.get_secret_value() if isinstance(value, _SECRET_KINDS) else value
    return secret.decode(errors="replace") if isinstance(secret, bytes) else str(secret)
