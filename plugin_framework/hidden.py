"""Keeps what this process has, secrets first, from other processes of the same user."""

from __future__ import annotations

import ctypes

_PR_SET_DUMPABLE = 4


def hide() -> None:
    """Have the kernel show environment, memory and open files to root alone (Linux).

    A plugin's process has the same user, and could read the secret out of ``/proc`` otherwise. What
    this process starts is shown again, so that a plugin can be debugged and leave a core file: each
    process of ours that is no plugin's hides itself.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
