"""All variables: which there are, which hold secrets, and what each means."""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource

from plugin_framework.settings.model import Settings, TransferSettings
from plugin_framework.settings.opentelemetry import SECRETS
from plugin_framework.settings.values import PREFIX, accepts, variable_of


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """All variables and their fields; that of a nested model comes before its parts."""
    for name, field in Settings.model_fields.items():
        yield variable_of(name), field
        if field.annotation is TransferSettings:
            for part, nested in TransferSettings.model_fields.items():
                yield variable_of(name, part), nested


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """A warning for each ``DATAHUB_`` name in ``environ`` or ``.env`` that is not a setting."""
    known = {name for name, _ in fields()}
    names = {name.upper() for name in (*environ, *_dotenv())}
    return [unknown_line(name) for name in sorted(names - known) if name.startswith(PREFIX)]


def given_variables() -> frozenset[str]:
    """Names of the variables, in capitals, that the environment or ``.env`` sets, right or not."""
    return frozenset(name.upper() for name, value in {**_dotenv(), **os.environ}.items() if value)


def _dotenv() -> Mapping[str, str | None]:
    try:
        return DotEnvSettingsSource(Settings).env_vars
    except (OSError, UnicodeError):
        return {}  # load_settings says so


def unknown_line(variable: str) -> str:
    """Say that there is no such setting, and which one is spelt most like it."""
    known = [name.removeprefix(PREFIX) for name, _ in fields()]
    nearest = difflib.get_close_matches(variable.removeprefix(PREFIX), known, n=1, cutoff=0)
    return f"{variable} is not a setting; did you mean {PREFIX}{nearest[0]}?"


def secret_variables() -> frozenset[str]:
    """Names of variables that hold secrets, in capitals and as this environment spells them."""
    secrets = {name for name, field in fields() if accepts(field).secret} | SECRETS
    return frozenset(secrets | {name for name in os.environ if name.upper() in secrets})


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """What of an environment a process may see that is not to have our secrets."""
    secrets = secret_variables()
    return {name: text for name, text in environ.items() if name.upper() not in secrets}


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """One row of the reference page, all of it text for people."""

    variable: str
    expected: str
    default: str
    meaning: str
    secret: bool


def describe_settings() -> list[SettingInfo]:
    """All settings in the order of their declaration, nested ones one by one."""
    return [
        SettingInfo(
            variable=variable,
            expected=accepts(field).expected,
            default=_default_text(field),
            meaning=" ".join((field.description or "").split()),
            secret=accepts(field).secret,
        )
        for variable, field in fields()
        if field.annotation is not TransferSettings
    ]


def _default_text(field: FieldInfo) -> str:
    default = field.default
    if isinstance(default, bool):
        return str(default).lower()
    number = f"{default:g}" if isinstance(default, float) else str(default)
    return accepts(field).default or ("none" if default is None else number)
