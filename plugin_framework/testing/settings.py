"""The settings of a local run: the environment's, less what is about some other Datahub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plugin_framework.settings import Settings, load_settings

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
}
_UNSET = dict.fromkeys(("api_secret_previous", "token", "ca_bundle", "proxy", "broker_url"))


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
