"""Transfers beside other clients and beside the limit, a client in C that only moves bytes."""
