"""What holds for all tests."""

from __future__ import annotations

import signal

# Started in the background of a script, we ignore Ctrl-C, and so would every process of ours.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
