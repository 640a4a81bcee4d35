"""``explain``: what a problem's code means, and what to do about it."""

from plugin_framework.cli.explain.command import explain_command
from plugin_framework.cli.explain.page import page_of, title_of

__all__ = ["explain_command", "page_of", "title_of"]
