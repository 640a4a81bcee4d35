"""Tests that inject the faults which must not do harm."""
