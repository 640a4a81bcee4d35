"""The ``datahub-plugin`` command."""

from plugin_framework.cli.app import main

__all__ = ["main"]
