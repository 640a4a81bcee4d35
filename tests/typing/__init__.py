"""The public surface, as a strict type checker sees it."""
