"""A real store's bucket in place of the local storage.

``bucket`` and ``urls`` need boto3, an extra: whoever imports them has connected before.
"""

from __future__ import annotations

from plugin_framework.emulator.buckets.address import BucketAddress
from plugin_framework.emulator.buckets.client import check_bucket, connect

__all__ = ["BucketAddress", "check_bucket", "connect"]
