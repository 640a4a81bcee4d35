"""Tests of the life of one subtask."""
