"""The service that Datahub calls (PROTOCOL.md, 2.2 to 2.6)."""
