"""The emulator's server process; started by ``Emulator``, which tells it what to serve."""

from __future__ import annotations

import sys

from plugin_framework.emulator.server import serve_orders
from plugin_framework.hidden import hide

hide()
serve_orders(sys.stdin)
