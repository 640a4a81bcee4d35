"""A state folder that one command at a time may use, and the ports that it goes on with."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from plugin_framework.errors import Code, ConfigurationError

LOOPBACK = "127.0.0.1"


@contextmanager
def alone(folder: Path, option: str, who: str) -> Iterator[None]:
    """Hold a folder, made where it is missing; the kernel lets go of it when this process ends.

    Raises:
        ConfigurationError: it cannot be written, or ``who`` ("another ...") holds it.
    """
    try:
        # Not by parents=True alone: what it makes on the way is open to others.
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"{option} {folder}: it cannot be written ({error.strerror})", code=Code.FOLDER_UNUSABLE
        ) from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"{option} {folder}: {who} uses it: give each its own", code=Code.FOLDER_IN_USE
            ) from None
        yield
    finally:
        os.close(fd)


@contextmanager
def kept_ports(file: Path, wanted: Sequence[int | None]) -> Iterator[list[int]]:
    """Ports of loopback that nobody else is given meanwhile; whoever knows one may listen on it.

    A port that is not ``wanted`` is the one of last time, which ``file`` has, as long as it is
    free: addresses that were handed out stay good.

    Raises:
        ConfigurationError: a wanted port is taken.
    """
    before = _read(file, len(wanted))
    with ExitStack() as held:
        ports = [
            held.enter_context(_reserve(port, known)).getsockname()[1]
            for port, known in zip(wanted, before, strict=True)
        ]
        file.write_text(json.dumps(ports), encoding="utf-8")
        yield ports


def _read(file: Path, count: int) -> Sequence[int]:
    """The ports of last time; any free ones where they cannot be told."""
    try:
        ports = [int(port) for port in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, OverflowError):
        ports = []
    return ports if len(ports) == count else [0] * count


def _reserve(wanted: int | None, known: int) -> socket.socket:
    """A bound socket that does not listen: the kernel gives its port to nobody who asks for any."""
    if wanted is not None:
        try:
            return _bind(wanted)
        except OSError as error:
            raise ConfigurationError(
                f"--port {wanted}: {error.strerror}", code=Code.PORT_UNUSABLE
            ) from None
    try:
        return _bind(known)
    except (OSError, OverflowError):
        return _bind(0)


def _bind(port: int) -> socket.socket:
    reserved = socket.socket()
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((LOOPBACK, port))
    except BaseException:
        reserved.close()
        raise
    return reserved
