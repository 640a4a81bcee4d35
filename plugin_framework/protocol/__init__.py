"""The Datahub API: wire models, signing, client (PROTOCOL.md)."""
