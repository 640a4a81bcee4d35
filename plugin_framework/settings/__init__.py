"""The settings, and the only reader of the environment.

Each setting is an environment variable: ``DATAHUB_`` and the field's name, in any letter case, with
``__`` before a nested name. Where one is given more than once, the first of these wins: keyword
arguments, the environment, ``.env`` in the current folder, secret files, the default. An empty
variable counts as not set. In ``.env``, ``${NAME}`` stands for another variable's value. Secrets
alone are read from files too: the file in ``DATAHUB_SECRETS_DIR`` that is named after the variable,
in any letter case, less surrounding white space.
"""

from plugin_framework.settings.catalogue import (
    SettingInfo,
    describe_settings,
    given_variables,
    secret_variables,
    unknown_variables,
    without_secrets,
)
from plugin_framework.settings.load import load_settings
from plugin_framework.settings.model import Settings, TransferSettings

__all__ = [
    "SettingInfo",
    "Settings",
    "TransferSettings",
    "describe_settings",
    "given_variables",
    "load_settings",
    "secret_variables",
    "unknown_variables",
    "without_secrets",
]
