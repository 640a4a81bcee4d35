"""The socket that the emulator listens at."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from plugin_framework.errors import Code, ConfigurationError

_BACKLOG: Final = 512


def listen(host: str, port: int, *, allow_wildcard: bool = False) -> socket.socket:
    """Listen at ``host``; port 0 takes a free one.

    Raises:
        ConfigurationError: it stands for all addresses there are, and that is not allowed: whoever
            reaches the page can do all that it can.
        OSError: it cannot be had.
    """
    family, *_, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    if is_wildcard(str(address[0])) and not allow_wildcard:
        raise ConfigurationError(
            f"--host {host}: the whole network could reach it, and nothing asks who is there;"
            " take a loopback address such as 127.0.0.1, or say --allow-wildcard",
            code=Code.HOST_EXPOSED,
        )
    listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    # Connections inherit it; asyncio sets it only on sockets that say which protocol they are of.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def is_wildcard(address: str) -> bool:
    """Whether it is all addresses of this machine."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_unspecified


def url_of(listener: socket.socket) -> str:
    """The address to reach it at from this machine."""
    host, port = listener.getsockname()[:2]
    if is_wildcard(host):
        host = "127.0.0.1" if listener.family is socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
