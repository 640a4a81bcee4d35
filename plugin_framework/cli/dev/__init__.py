"""``dev``: the local Datahub and the service in one terminal, with reload."""

from plugin_framework.cli.dev.command import dev_command

__all__ = ["dev_command"]
