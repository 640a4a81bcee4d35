"""Presigned URLs as the real SDKs make them, and as the real stores take them."""
