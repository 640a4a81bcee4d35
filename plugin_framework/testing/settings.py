"""The settings of a local run: the environment's, less what is about some other Datahub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from plugin_framework.errors import SettingsError
from plugin_framework.settings import Settings, load_settings
from plugin_framework.settings.load import problems_of

# What stands in for settings that are not read here, so that they cannot be wrong either.
_STAND_INS = {
    "base_url": "http://127.0.0.1",
    "api_key": "local",
    "api_secret": "local",
    "api_secret_previous": "local",
    "token": "local",
    "state_dir": "/",
    "ca_bundle": __file__,
    "proxy": "env",
    "engine": "local",
    "broker_url": "amqp://127.0.0.1",
    "store_url": "redis://127.0.0.1",
}
_UNSET = dict.fromkeys(
    ("api_secret_previous", "token", "ca_bundle", "proxy", "broker_url", "store_url")
)


def local_settings(overrides: Mapping[str, Any], **own: object) -> Settings:
    """The settings, of which ``overrides`` are validated and ``own`` are taken as they stand.

    Raises:
        SettingsError: a setting that counts locally is wrong.
    """
    transfer = {**overrides.get("transfer", {}), "allowed_hosts": "any"}
    settings = load_settings(**{**overrides, **_STAND_INS, "transfer": transfer})
    return settings.model_copy(update={**_UNSET, **own})


def local_state_dir() -> Path:
    """Where the settings have state be kept.

    Raises:
        SettingsError: a setting that counts locally is wrong.
    """
    others = {name: value for name, value in _STAND_INS.items() if name != "state_dir"}
    return load_settings(**others).state_dir


class _Given(Settings):
    """Settings that come from nowhere else: a test must not depend on where it is run."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - as it is called
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as it is called
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as it is called
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as it is called
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, and nothing else."""
        return (init_settings,)


def given_settings(given: Mapping[str, Any], **own: object) -> Settings:
    """The settings of a test: ``given`` are validated, ``own`` taken as they stand.

    Neither the environment nor a file is read.

    Raises:
        SettingsError: with a line for each that is wrong.
    """
    transfer = {**given.get("transfer", {}), "allowed_hosts": "any"}
    try:
        settings = _Given(**{**given, **_STAND_INS, "transfer": transfer})
    except ValidationError as error:
        problems = problems_of(error)
    else:
        return settings.model_copy(update={**_UNSET, **own})
    raise SettingsError(problems)  # out here, so that no context keeps what was validated
