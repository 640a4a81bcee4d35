"""The emulator's server process; started by ``Emulator``, which tells it what to serve."""

from __future__ import annotations

import sys

from plugin_framework.emulator.server import serve_orders

serve_orders(sys.stdin)
