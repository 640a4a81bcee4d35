"""Measurements behind every claim on speed and memory. ``make bench`` runs them all."""
