"""Which addresses a plugin service may have."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from plugin_framework.emulator.rules import BAD_REQUEST, Refused


def service_address(text: str, *, allow_remote: bool) -> str:
    """A service's URL as it is kept, without a slash at its end.

    Raises:
        Refused: with code 400, for what is no plain http or https URL, or not of this machine
            where that is asked for. Beyond this machine it must be https (PROTOCOL.md, 2.1).
    """
    try:
        parts = urlsplit(text.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _bad("it is no URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise _bad("it must begin with http:// or https:// and name a host")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise _bad("it must have no user, query or fragment")
    if not _is_loopback(host):
        if not allow_remote:
            raise _bad("it is not on this machine")
        if parts.scheme != "https":
            raise _bad("it must be https outside this machine")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bad(problem: str) -> Refused:
    return Refused(f"the address of a service: {problem}", BAD_REQUEST)
