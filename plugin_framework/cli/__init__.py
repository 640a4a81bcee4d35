"""The ``datahub-plugin`` command."""
