"""Which storage URLs and addresses we talk to: the guard against forged requests.

Presigned URLs come from outside, so one could point at a metadata service or into the local
network. What counts is the address a host name resolves to, and the engine connects to no other.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import parse_qsl

from plugin_framework.errors import AddressRefusedError, StorageUnreachableError

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:[/?][!\"$-~]*)?)",
    re.IGNORECASE,
)
_USER = re.compile(r"(?:^|(?<=/))[^/]*@")
_NO_PORT = re.compile(r"//(?!\[)[^/]*:(?![0-9]*(?:/|$))")
_NAMING = re.compile(r"\[|[^:]*[a-z0-9]", re.IGNORECASE)
_SIGNED_HEADERS = frozenset(
    {"x-amz-signedheaders", "x-goog-signedheaders", "x-oss-additional-headers", "q-header-list"}
)
_PORTS = {"http": 80, "https": 443}
_METADATA = tuple(
    ipaddress.ip_network(network)
    for network in (
        "fd00:ec2::/32",  # AWS: 254 tells of the instance, 23 of an EKS pod's identity
        "fd20:ce::254",  # Google
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle
        "fd00:c1::a9fe:a9fe",  # Oracle
        "fd00:42::42",  # Scaleway
    )
)
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_COMPATIBLE = ipaddress.ip_network("::/96")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
_NAT64_LENGTHS = (48, 56, 64, 96)
_ISATAP = (b"\0\0\x5e\xfe", b"\2\0\x5e\xfe")
"""How the interface's half of an ISATAP address begins; IPv4 follows (RFC 5214, 6.1)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL taken apart: ``host`` with brackets where it is IPv6, ``target`` byte for byte."""

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)

    @property
    def origin(self) -> str:
        """``scheme://host:port``, all in lower case."""
        return f"{self.scheme}://{self.host}:{self.port}"


def shown(url: str) -> str:
    """The URL as it may be shown: without its query, which is a credential, or userinfo."""
    location = re.split("[?#]", url, maxsplit=1)[0]
    if "@" in url:
        location = _USER.sub("", location)
        # Any part may belong to a password that is not encoded as it should be.
        if unread := _NO_PORT.search(location):
            location = f"{location[: unread.start()]}//..."
    return ascii(location)[1:-1]


def signed_headers(url: str) -> frozenset[str]:
    """The names, in lower case, of the headers that a presigned URL was signed with."""
    query = parse_qsl(url.partition("?")[2], keep_blank_values=True)
    lists = (value for name, value in query if name.lower() in _SIGNED_HEADERS)
    return frozenset(name for value in lists for name in value.lower().split(";") if name)


def parse(url: str) -> Endpoint:
    """Take a URL apart, strictly: what two parsers could read in two ways is refused.

    Raises:
        AddressRefusedError: not a plain http or https URL of printable ASCII.
    """
    match = _URL.fullmatch(url)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise AddressRefusedError(f"{shown(url)} is refused: {_complaint(url)}")
    scheme = match["scheme"].lower()
    port = int(match["port"] or _PORTS[scheme])
    target = match["target"] if match["target"].startswith("/") else f"/{match['target']}"
    return Endpoint(scheme, match["host"].lower(), port, target)


@dataclass(frozen=True, slots=True)
class Guard:
    """Decides which endpoints and addresses are allowed.

    Attributes:
        allowed_hosts: patterns of ``host`` or ``host:port``; where there are any, no other host is
            allowed, and those they name may have loopback and private addresses.
        allow_private: whether any host may have loopback and private addresses.
    """

    allowed_hosts: tuple[str, ...] = ()
    allow_private: bool = False

    def check(self, url: str) -> Endpoint:
        """Take ``url`` apart and see that its host is allowed.

        Raises:
            AddressRefusedError: it is not, or the URL is none we talk to.
        """
        endpoint = parse(url)
        if self.allowed_hosts and not _named(endpoint, self.allowed_hosts):
            raise AddressRefusedError(f"{shown(url)} is refused: not one of the allowed hosts")
        return endpoint

    def resolve(self, endpoint: Endpoint) -> tuple[str, ...]:
        """The addresses of an endpoint's host.

        Raises:
            AddressRefusedError: one of them is not allowed.
            StorageUnreachableError: the name does not resolve.
        """
        host = endpoint.host.strip("[]")
        try:
            found = socket.getaddrinfo(host, endpoint.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise StorageUnreachableError(f"{endpoint.host} does not resolve: {error}") from None
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            self._check_address(endpoint, address)
        return addresses

    def _check_address(self, endpoint: Endpoint, address: str) -> None:
        kind = kind_of(address)
        if kind == "public" or (kind == "local" and self._may_be_local(endpoint)):
            return
        reason = f"its address {address} is {kind}"
        raise AddressRefusedError(f"{endpoint.origin} is refused: {reason}")

    def _may_be_local(self, endpoint: Endpoint) -> bool:
        # One such as * or *:443 allows every host, and names none.
        patterns = (one for one in self.allowed_hosts if _NAMING.match(one) or _ipv6(one))
        return self.allow_private or _named(endpoint, tuple(patterns))


def kind_of(address: str) -> str:
    """``public``, ``local`` (loopback, private), or what it is that is always refused."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    kinds = [_kind(each) for each in _meanings(ip)]
    return next((kind for kind in kinds if kind not in ("public", "local")), min(kinds))


def _meanings(ip: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """The address, or the IPv4 addresses that it stands for."""
    if isinstance(ip, IPv6Address):
        inner: list[IPv4Address | IPv6Address | None] = [
            ip.ipv4_mapped,
            ip.sixtofour,
            *(ip.teredo or ()),
        ]
        if ip in _NAT64 or (ip in _COMPATIBLE and int(ip) > 1):
            inner.append(_translated(ip, 96))
        if ip in _LOCAL_NAT64:  # how long its prefix is, only its operator knows
            ends = [_translated(ip, length) for length in _NAT64_LENGTHS]
            inner.extend([end for end in ends if end not in _THIS_NETWORK] or ends)
        if ip.packed[8:12] in _ISATAP:  # in any network: what that one is counts, too
            inner += [ip, _translated(ip, 96)]
        embedded = [each for each in inner if each is not None]
        if embedded:
            yield from embedded
            return
    yield ip


def _translated(ip: IPv6Address, length: int) -> IPv4Address:
    """The IPv4 address after a prefix of ``length`` bits (RFC 6052, 2.2: byte 8 is left out)."""
    packed = ip.packed
    usable = packed[:8] + packed[9:] if length < 96 else packed  # noqa: PLR2004 - as in the RFC
    start = length // 8
    return IPv4Address(usable[start : start + 4])


def _kind(ip: IPv4Address | IPv6Address) -> str:
    if any(ip in network for network in _METADATA) or ip.is_link_local:
        return "a metadata or link-local address"
    if ip.is_unspecified or ip.is_multicast or ip in _THIS_NETWORK:
        return "not an address of a host"
    if ip.is_loopback or (isinstance(ip, IPv6Address) and ip.is_site_local):
        return "local"
    if ip.is_reserved:
        return "reserved"
    return "public" if ip.is_global else "local"


def _named(endpoint: Endpoint, patterns: tuple[str, ...]) -> bool:
    host = endpoint.host.rstrip(".")
    address = _ipv6(host)
    if address is not None and address in map(_ipv6, patterns):
        return True
    names = (host, f"{host}:{endpoint.port}")
    # Literally too: the brackets of an IPv6 address mean something else in a pattern.
    return any(
        name == pattern or fnmatchcase(name, pattern)
        for pattern in map(str.lower, patterns)
        for name in names
    )


def _ipv6(text: str) -> IPv6Address | None:
    """The address that it spells, with brackets or without: it has more than one spelling."""
    with suppress(ValueError):
        return IPv6Address(text.removeprefix("[").removesuffix("]"))
    return None


def _complaint(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in _PORTS:
        return "only http and https URLs are taken"
    if not all("!" <= letter <= "~" for letter in url):
        return "it has spaces, control or non-ASCII characters"
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return "it carries a user name"
    if not authority or authority.startswith(":"):
        return "it names no host"
    return "it has a fragment" if "#" in rest else "its host or port is malformed"
