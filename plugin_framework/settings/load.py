"""Reading all settings, and saying what is wrong with them."""

import json
import re
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from plugin_framework.errors import Code, Problem, SettingsError
from plugin_framework.settings.catalogue import fields, unknown_line
from plugin_framework.settings.model import Settings
from plugin_framework.settings.secret_files import UnreadableFile, reason_of
from plugin_framework.settings.values import accepts, variable_of

_SHOWN_CHARACTERS = 100


def load_settings(**overrides: object) -> Settings:
    """Read all settings; an override wins over every source, and None is no override.

    Raises:
        SettingsError: with one line for each problem, all of them at once, and no secret.
    """
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    try:
        problems = _broken_lines(Path(".env"))
        if not problems:
            return Settings(**given)
    except (OSError, UnicodeError) as error:  # whatever else is wrong is a ValidationError
        unreadable = f".env: expected a readable UTF-8 text file ({reason_of(error)})"
        problems = [unreadable, *_problems_without_dotenv(given)]
    except ValidationError as error:
        problems = problems_of(error)
    # Raised out here, so that no context keeps what was validated, secrets included.
    raise SettingsError(problems)


def problems_of(error: ValidationError) -> list[str]:
    """A line for each setting that is wrong."""
    return [_problem_line(found) for found in error.errors(include_url=False)]


def _broken_lines(dotenv: Path) -> list[str]:
    """Lines that the reading of settings would pass over, with all that an open quote takes in."""
    if not dotenv.exists():
        return []
    with dotenv.open(encoding="utf-8-sig") as lines:
        return [
            f".env, line {binding.original.line}: expected NAME=value, with quotes closed"
            for binding in parse_stream(lines)
            if binding.error
        ]


def _problems_without_dotenv(given: dict[str, Any]) -> list[str]:
    try:
        Settings(**{**given, "_env_file": None})
    except ValidationError as error:
        return [
            _problem_line(found)
            for found in error.errors(include_url=False)
            if found["type"] != "setting_missing"  # it may well be in .env
        ]
    return []


def _problem_line(found: ErrorDetails) -> str:
    if found["type"] == "setting_missing":
        return Problem(found["msg"], Code.SETTING_MISSING)
    known = dict(fields())
    place = [str(part) for part in found["loc"][:2]]
    candidates = (variable_of(*place), variable_of(*place[:1]))
    variable = next((name for name in candidates if name in known), None)
    if variable is None:
        return unknown_line(variable_of(*place))
    takes, value = accepts(known[variable]), found["input"]
    if isinstance(value, UnreadableFile):
        return f"{variable}: expected a readable UTF-8 text file: {value.path} ({value.reason})"
    shown = "" if takes.secret else _shown(variable, value)
    own_words = found["type"] == "setting_refused"
    return f"{variable}{shown}: {found['msg'] if own_words else f'expected {takes.expected}'}"


def _shown(variable: str, value: object) -> str:
    """``="value"``, or nothing for a URL whose user, query or fragment may be a password."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    if re.search("[@?#]", text) and ("://" in text or variable == variable_of("base_url")):
        return ""
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "..."
    return f"={json.dumps(text, ensure_ascii=False)}"
