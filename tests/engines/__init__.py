"""Tests of where subtasks run."""
