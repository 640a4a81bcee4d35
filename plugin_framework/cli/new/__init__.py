"""``new``: a plugin project to start from, whose own tests pass as it is made."""

from plugin_framework.cli.new.command import new_command

__all__ = ["new_command"]
