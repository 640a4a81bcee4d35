"""Plugins that each break one rule, and no other: the module is named after it."""
