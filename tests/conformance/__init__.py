"""Whole runs against a strict, independent server."""
