"""All settings as they are, right or wrong, and where each comes from."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv.parser import Binding, parse_stream
from pydantic import ByteSize, SecretStr, ValidationError

from plugin_framework.cli.config import read_config
from plugin_framework.errors import Code, ConfigurationError, Problem, SettingsError
from plugin_framework.settings import (
    SettingInfo,
    Settings,
    describe_settings,
    load_settings,
    secret_variables,
)
from plugin_framework.settings.catalogue import fields
from plugin_framework.settings.load import problems_of
from plugin_framework.settings.values import PREFIX, variable_of

DOTENV = Path(".env")
MASK = "***"
_NAMED = re.compile(rf"{PREFIX}\w+")
_LINE_OF_DOTENV = re.compile(r"\.env, line \d+")


@dataclass(frozen=True, slots=True)
class Row:
    """A setting: its value as it may be shown, and where that and what it wins over stand."""

    variable: str
    value: str
    source: str
    overrides: tuple[str, ...]
    secret: bool
    wrong: bool


@dataclass(frozen=True, slots=True)
class Given:
    """A value that is given for a variable, and where."""

    text: str
    place: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The environment, and what it makes of the settings.

    ``settings`` has the default of each that is wrong; ``problems`` has a line for each.
    """

    settings: Settings
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    given: Mapping[str, tuple[Given, ...]]
    environ: Mapping[str, str]

    def place_of(self, problem: str) -> str | None:
        """Where what a line complains about is to be corrected."""
        if found := _LINE_OF_DOTENV.match(problem):
            return found[0]
        named = _NAMED.match(problem)
        found_at = self.given.get(named[0].upper(), ()) if named else ()
        if not found_at:
            return None
        place = found_at[0].place
        return f"the {place}" if place.startswith("environment") else place


def read() -> Reading:
    """Read the settings; what is wrong with some hides none of the others."""
    settings, wrong = _as_far_as_right()
    wrong.update(_config_problem(settings.config))
    given = _given(settings)
    rows = tuple(_row(info, settings, wrong, given) for info in describe_settings())
    return Reading(settings, rows, _problems(wrong), given, dict(os.environ))


def _problems(wrong: Mapping[str, Problem]) -> tuple[Problem, ...]:
    """All that loading the settings tells, and what it does not come to."""
    lines: tuple[Problem, ...] = ()
    try:
        load_settings()
    except SettingsError as error:
        lines = error.problems
    # Lines of .env that cannot be read are all that it tells, where there are any.
    told = {name for line in lines for name in _NAMED.findall(line)}
    return (*lines, *(line for name, line in wrong.items() if name not in told))


def _as_far_as_right() -> tuple[Settings, dict[str, Problem]]:
    """The settings, and what is wrong with each variable that was left out."""
    chosen: dict[str, Any] = {}
    wrong: dict[str, Problem] = {}
    for _ in fields():
        try:
            return Settings(**chosen), wrong
        except (OSError, UnicodeError):
            chosen["_env_file"] = None
        except ValidationError as error:
            for found, line in zip(error.errors(), problems_of(error), strict=True):
                problem = Problem(line, Code.SETTING_WRONG)
                missing = _NAMED.match(line) if found["type"] == "setting_missing" else None
                for variable in _leave_out([str(part) for part in found["loc"][:2]], chosen):
                    # Of a key and its secret it is the one that is not there.
                    wrong.setdefault(missing[0] if missing else variable, problem)
    return Settings.model_construct(), wrong


def _config_problem(config: str | None) -> Iterator[tuple[str, Problem]]:
    """What a run would say of the task's config, without what it may hold."""
    variable = variable_of("config")
    try:
        if not _is_stream(config or ""):
            read_config(config, ())
    except ConfigurationError as error:
        line = str(error).replace(f"the config file {config}", f"the config file {MASK}")
        yield variable, Problem(f"{variable}: {line}", error.code)


def _is_stream(path: str) -> bool:
    """Whether it is there to be read once, by the run."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - the text may be no path at all
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _leave_out(place: list[str], chosen: dict[str, Any]) -> Iterator[str]:
    """Choose the default in place of a wrong value; yield its variable."""
    name, *inner = place
    field = Settings.model_fields.get(name)
    if field is None:
        return
    known = dict(fields())
    if inner and variable_of(*place) in known:
        part = type(Settings.model_fields[name].default).model_fields[inner[0]]
        chosen.setdefault(name, {})[inner[0]] = part.get_default(call_default_factory=True)
        yield variable_of(*place)
        return
    if name == "api_secret":  # without it the key is of no use, and would be complained about
        chosen["api_key"] = None
    chosen[name] = {} if name == "transfer" else field.get_default(call_default_factory=True)
    yield variable_of(name)


def _row(
    info: SettingInfo,
    settings: Settings,
    wrong: Iterable[str],
    given: Mapping[str, tuple[Given, ...]],
) -> Row:
    is_wrong = info.variable in wrong
    places = [one.place for one in given.get(info.variable, ())]
    value = _value(settings, info.variable)
    hidden = info.secret or info.variable == variable_of("config")
    if is_wrong and places:
        shown = "(wrong)"
    elif places and hidden:
        shown = MASK
    else:
        shown = _text(value) or info.default
    if not places and info.variable == variable_of("on_shutdown") and settings.engine == "celery":
        shown += " (a worker: leave)"
    source, *others = places or ["default"]
    return Row(info.variable, shown, source, tuple(others), info.secret, is_wrong)


def _value(settings: Settings, variable: str) -> object:
    value: object = settings
    for name in variable.removeprefix(PREFIX).lower().split("__"):
        value = getattr(value, name)
    return value


def _text(value: object) -> str:
    """The value as it would be written; nothing where it says nothing."""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, ByteSize):
        return value.human_readable().replace(".0", "")
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _given(settings: Settings) -> dict[str, tuple[Given, ...]]:
    """What is given for each variable, that which counts first."""
    found: dict[str, list[Given]] = {}
    for name, text in os.environ.items():
        if text and name.upper().startswith(PREFIX):
            own = "" if name.isupper() else f" ({name})"
            found.setdefault(name.upper(), []).append(Given(text, f"environment{own}"))
    for name, one in _in_dotenv().items():
        found.setdefault(name, []).append(one)
    for name, one in _in_secret_files(settings.secrets_dir):
        found.setdefault(name, []).append(one)
    ca_bundle = variable_of("ca_bundle")
    if settings.ca_bundle is not None and ca_bundle not in found:
        found[ca_bundle] = [Given(str(settings.ca_bundle), "SSL_CERT_FILE")]
    return {name: tuple(all_of_it) for name, all_of_it in found.items()}


def _in_dotenv() -> dict[str, Given]:
    """Of a name that stands there more than once, the last counts."""
    try:
        with DOTENV.open(encoding="utf-8-sig") as lines:
            bindings = list(parse_stream(lines))
    except (OSError, UnicodeError):
        return {}  # what is wrong with it is one of the problems
    return {
        one.key.upper(): Given(one.value, f".env, line {_line(one)}")
        for one in bindings
        if one.key and one.value and one.key.upper().startswith(PREFIX)
    }


def _line(binding: Binding) -> int:
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _in_secret_files(folder: Path | None) -> Iterator[tuple[str, Given]]:
    try:
        files = sorted(folder.iterdir()) if folder else []
    except OSError:
        return
    secrets = secret_variables()
    for file in files:
        if file.name.upper() in secrets:
            try:
                text = file.read_text("utf-8").strip()
            except (OSError, UnicodeError):
                yield file.name.upper(), Given("", str(file))  # it counts, and is wrong
            else:
                if text:
                    yield file.name.upper(), Given(text, str(file))
