"""A network of its own for a node, joined to ours by a switch that can let nothing through."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from contextlib import suppress
from typing import Self

OURS, THEIRS = "10.213.77.1", "10.213.77.2"
_NOTHING, _EVERYTHING = "0", "3"
"""States of a switch's port: disabled, forwarding."""


def is_possible() -> bool:
    """Whether we may make one: it takes root, and the right to administer networks."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "bridge"))):
        return False
    try:
        with Network():
            return True
    except subprocess.CalledProcessError:
        return False


class Network:
    """Reaches us at ``OURS`` alone, and has loopback besides."""

    def __init__(self) -> None:
        mark = secrets.token_hex(3)
        self._name = f"node-{mark}"
        self._switch = f"sw{mark}"
        self._port, self._end = f"pt{mark}", f"nd{mark}"

    def __enter__(self) -> Self:
        inside = ("-n", self._name)
        try:
            _run("ip", "netns", "add", self._name)
            _run("ip", "link", "add", self._switch, "type", "bridge")
            _run("ip", "link", "add", self._port, "type", "veth", "peer", "name", self._end)
            _run("ip", "link", "set", self._port, "master", self._switch)
            _run("ip", "link", "set", self._end, "netns", self._name)
            _run("ip", "address", "add", f"{OURS}/30", "dev", self._switch)
            _run("ip", *inside, "address", "add", f"{THEIRS}/30", "dev", self._end)
            for there, device in (((), self._switch), ((), self._port), (inside, self._end)):
                _run("ip", *there, "link", "set", device, "up")
            _run("ip", *inside, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for gone in (("netns", self._name), ("link", self._port), ("link", self._switch)):
            with suppress(subprocess.CalledProcessError):
                _run("ip", gone[0], "delete", gone[1])

    @property
    def before(self) -> tuple[str, ...]:
        """What to run a command by, so that it runs in there."""
        return "ip", "netns", "exec", self._name

    def cut(self) -> None:
        """Let nothing through: packets are lost, and nobody is told."""
        _run("bridge", "link", "set", "dev", self._port, "state", _NOTHING)

    def mend(self) -> None:
        """Let all through again."""
        _run("bridge", "link", "set", "dev", self._port, "state", _EVERYTHING)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
