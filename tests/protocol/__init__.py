"""Tests of the Datahub API client, its messages and its signing."""
