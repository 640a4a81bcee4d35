"""Fuzz targets: each reads what comes from outside, and knows what must be true of it."""
