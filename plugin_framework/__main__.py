"""``python -m plugin_framework`` is the ``datahub-plugin`` command."""

from plugin_framework.cli import main

main()
