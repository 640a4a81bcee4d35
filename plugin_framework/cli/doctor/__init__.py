"""``doctor``: what is wrong here, and how to mend it."""

from plugin_framework.cli.doctor.command import doctor_command

__all__ = ["doctor_command"]
